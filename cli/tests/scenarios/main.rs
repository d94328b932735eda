//! Package `cli`, tests: scripted scenarios: real daemons, real commands, what they print held against the script. Each
//! `*.txt` beside this file is one. `UPDATE=1 cargo test -p rjournal-cli --test scenarios` writes what is printed now.
//!
//! A line `PRD> put ...` runs a command of the program on system PRD; what it prints follows, then `[exit N]` where that is
//! not 0. `PRD> daemon` starts the daemon, `PRD> kill` kills it with SIGKILL, `PRD> end` ends it in order. `PRD>~ get ...`
//! is run again until it prints what stands there. `PRD>& cpyfrmimpf ...` goes on beside the next lines, and `PRD> wait` waits
//! for it and gives what it printed. `!write FILE TEXT` makes a file in the directory of the scenario, `!rows FILE N` a CSV
//! file of so many rows. `!network own` gives the scenario a network, `!network down` pulls it, `!network up` puts it back.
//! `!disk PRD 12M` puts system PRD, in such a network, on a disk of that size, or gives its disk that size.
//! `!damage PRD FROM COUNT` changes bytes of the system's first receiver, `!lose-control PRD` both slots of the control file
//! of its first journal, `!lose-catalog PRD` both copies of its catalog, `!lose-marks PRD` the flush marks of its journals.
//! `!keep PRD` copies the system's directory, `!restore PRD` puts the copy back. `!no-writes PRD` lets every write of the
//! daemon that runs fail.
//! Lines that begin with `#`, and blank ones, are for people. `$PRD_KEY` and `$PRD_ADDRESS` stand for a system's fingerprint and
//! address, `$DIR` for the directory of the scenario.

mod copies;
mod network;
mod runner;
mod script;

use std::path::{Path, PathBuf};

#[expect(clippy::print_stdout, reason = "what was not run must be said")]
fn scenario(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios")
        .join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).expect("the scenario is there");
    let Some(printed) = runner::run(&text) else {
        println!("{name} was not run: this machine allows no namespaces");
        return;
    };
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, printed).expect("the scenario can be written");
        return;
    }
    assert!(
        printed == text,
        "{name} prints something else (UPDATE=1 takes it over):\n{}",
        script::difference(&text, &printed)
    );
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                scenario(stringify!($name));
            }
        )*

        /// A script without a test is never run.
        #[test]
        fn every_script_is_run() {
            let known = [$(stringify!($name)),*];
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
            let scripts = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            let is_script = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txt");
            for script in scripts.filter(is_script) {
                let name = script.file_stem().unwrap().to_string_lossy().into_owned();
                assert!(known.contains(&name.as_str()), "{name} is no test");
            }
        }
    };
}

scenarios! {
    one_system,
    two_systems,
    bad_input,
    receivers,
    rows,
    import,
    store_saves,
    target_away,
    policy,
    network_pulled,
    disk_full,
    opening,
    partners,
    damage,
    control_lost,
    catalog_lost,
    stopped,
    groups,
    first_copy,
    first_copy_anew,
    not_taken_over,
}
