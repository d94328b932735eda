//! Package `cli`, two systems: what is done is told as it happens, each line with its time. Must not know what is done.

use tokio::time::Instant;

use crate::output::Output;
use crate::text;

/// Tells what is done, with times counted from the moment beside it, or keeps it to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice(pub(crate) Option<(Output, Instant)>);

impl Voice {
    /// What comes next.
    pub(crate) fn title(self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// A command, as an operator would type it.
    pub(super) fn command(self, system: &str, arguments: &[&str]) {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| text::shell_word(word))
            .collect();
        self.timed(&format!("{system}> rjournal {}", words.join(" ")));
    }

    /// Something that happened.
    pub(crate) fn event(self, text: &str) {
        self.timed(&format!("* {text}"));
    }

    /// More about what was told last.
    pub(crate) fn more(self, text: &str) {
        self.line(&format!("             {text}"));
    }

    fn timed(self, text: &str) {
        if let Some((output, began)) = self.0 {
            let at = began.elapsed().as_secs_f64();
            output.line(&format!("  {at:6.2} s  {text}"));
        }
    }

    fn line(self, text: &str) {
        if let Some((output, _)) = self.0 {
            output.line(text);
        }
    }
}
