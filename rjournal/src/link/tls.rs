//! Room `link`: who is at the other end. A system's identity is its key; a partner is admitted by the fingerprint of its
//! key, pinned in the directory by an operator who compared it. Certificates are self-signed wrappers of the key: names
//! and dates in them mean nothing. TLS 1.3 only, both sides prove themselves, no early data, no tickets.
//! Must not know what an admitted partner may do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::SystemId;
use crate::error::LinkError;

/// Names the protocol and its version in the handshake: an endpoint that does not speak it is refused there.
pub(super) const ALPN: &str = "rjournal/1";

/// The one place where the cryptography is chosen.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// BLAKE3 hash of a system's public key, as an operator compares it: 64 hexadecimal digits, hyphens allowed between them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        Ok(Self::of_key_info(parsed.subject_public_key_info().as_ref()))
    }

    /// Of a key as it stands in a certificate (subject public key info).
    pub(super) fn of_key_info(info: &[u8]) -> Self {
        Self(*blake3::hash(info).as_bytes())
    }

    /// Takes the 32 bytes of one.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The identity a system with this key begins with.
    pub fn system_id(&self) -> SystemId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        SystemId::from_bytes(id)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks_exact(2).enumerate() {
            let hyphen = if index % 4 == 0 && index > 0 { "-" } else { "" };
            write!(f, "{hyphen}{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let digits: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | ':' | ' '))
            .collect();
        let hash = blake3::Hash::from_hex(digits.to_ascii_lowercase());
        hash.map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| LinkError::Fingerprint {
                given: text.chars().take(100).collect(),
            })
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A system's own key and certificate.
#[derive(Clone)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new key (Ed25519) and a certificate for it. Gives the identity and its PEM text: the key, then the
    /// certificate; to be kept where only the system's owner can read it.
    ///
    /// # Errors
    /// [`LinkError::Identity`] when the machine has no randomness.
    pub fn generate(name: &str) -> Result<(Self, String), LinkError> {
        let failed = |error: rcgen::Error| LinkError::Identity {
            reason: error.to_string(),
        };
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(failed)?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
        Ok((Self::from_pem(&pem)?, pem))
    }

    pub(super) fn secret_der(&self) -> &[u8] {
        self.key.secret_der()
    }

    /// A key for another purpose, made from this one; no two purposes share theirs.
    pub(super) fn derive_key(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.key.secret_der())
    }

    /// Reads what [`Self::generate`] gave.
    ///
    /// # Errors
    /// [`LinkError::Identity`] when the text does not hold one key and one certificate for it.
    pub fn from_pem(pem: &str) -> Result<Self, LinkError> {
        use rustls::pki_types::pem::PemObject;
        let failed = |reason: String| LinkError::Identity { reason };
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| failed(format!("no private key: {error}")))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| failed(format!("no certificate: {error}")))?;
        let fingerprint =
            Fingerprint::of(&certificate).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            certificate,
            key: Arc::new(key),
            fingerprint,
        })
    }

    /// Fingerprint of the public key.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What a connection to the partner with this key needs.
    pub(super) fn client_config(
        &self,
        partner: Fingerprint,
    ) -> Result<rustls::ClientConfig, LinkError> {
        let provider = provider();
        let verifier = Arc::new(PinnedServer {
            partner,
            provider: Arc::clone(&provider),
        });
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| identity_error(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| identity_error(&error))?;
        config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        config.enable_early_data = false;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// What accepting connections from known partners needs.
    pub(super) fn server_config(
        &self,
        partners: Arc<dyn Partners>,
    ) -> Result<rustls::ServerConfig, LinkError> {
        let provider = provider();
        let verifier = Arc::new(KnownClient {
            partners,
            provider: Arc::clone(&provider),
        });
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| identity_error(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| identity_error(&error))?;
        config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn identity_error(error: &TlsError) -> LinkError {
    LinkError::Identity {
        reason: error.to_string(),
    }
}

/// Whose keys are known.
pub trait Partners: fmt::Debug + Send + Sync {
    /// Whether a system with this key may connect at all.
    fn admits(&self, fingerprint: &Fingerprint) -> bool;
}

/// The fingerprint of the key at the other end of a connection.
pub(super) fn peer_fingerprint(identity: Option<Box<dyn std::any::Any>>) -> Option<Fingerprint> {
    let certificates = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Fingerprint::of(certificates.first()?).ok()
}

#[derive(Debug)]
struct PinnedServer {
    partner: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if Fingerprint::of(end_entity)? == self.partner {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[derive(Debug)]
struct KnownClient {
    partners: Arc<dyn Partners>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for KnownClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let fingerprint = Fingerprint::of(end_entity)?;
        if self.partners.admits(&fingerprint) {
            Ok(ClientCertVerified::assertion())
        } else {
            tracing::warn!(%fingerprint, "a system with an unknown key tried to connect");
            Err(TlsError::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_from_its_pem_and_never_shows_its_key() {
        let (identity, pem) = Identity::generate("PRD").unwrap();
        let again = Identity::from_pem(&pem).unwrap();
        assert_eq!(again.fingerprint(), identity.fingerprint());
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        assert!(Identity::from_pem("nothing").is_err());
    }

    #[test]
    fn a_fingerprint_reads_back_from_its_text_however_it_is_grouped() {
        let (identity, _) = Identity::generate("PRD").unwrap();
        let text = identity.fingerprint().to_string();
        assert_eq!(text.parse::<Fingerprint>().unwrap(), identity.fingerprint());
        let plain = text.replace('-', "").to_uppercase();
        assert_eq!(
            plain.parse::<Fingerprint>().unwrap(),
            identity.fingerprint()
        );
        assert!("12".parse::<Fingerprint>().is_err());
    }
}
