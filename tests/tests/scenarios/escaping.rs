//! What an operator writes reaches a program as it was written, whatever it is, and becomes no directive of a unit: what
//! is put into `ExecStart=` is executed by a real systemd, and what the program got is compared, byte by byte. Elsewhere
//! there are but paths, in a condition or a description: `%` is doubled there too, and what would end the line is refused
//! where the configuration is read, as is a NUL character, which no program can be given.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use kn_agent::desired::units::exec_start;
use lab::{Artefacts, Minor, Node, Run};

/// Commands of the unit, and words of each: 10,000 words together.
const COMMANDS: usize = 100;
const WORDS: usize = 100;

const UNIT: &str = "/etc/systemd/system/lab-words.service";
const PROGRAM: &str = "/usr/local/bin/lab words";
const GOT: &str = "/run/lab-words";
const INJECTED: &str = "/run/lab-injected";

/// A directive more, for a unit that takes it as it is.
const INJECTION: &str = "\n[Service]\nExecStartPre=/usr/bin/touch /run/lab-injected\n";

/// What words are made of: whatever means something to systemd, to a shell, or to somebody who wants a directive more.
const PARTS: [&str; 44] = [
    "a",
    "node-1",
    "é",
    "節",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\u{1}",
    "\u{b}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\"",
    "'",
    "\\",
    "\\\\",
    "\\n",
    "\\x41",
    "\\\n",
    "$",
    "$$",
    "${HOME}",
    "$HOME",
    "%",
    "%%",
    "%n",
    "%H",
    "%{",
    ";",
    " ; ",
    "#",
    "=",
    "-",
    "@",
    "|",
    "*",
    "~",
    INJECTION,
    "\nExecStart=\nExecStart=/usr/bin/touch /run/lab-injected\n",
    "\" /usr/bin/touch /run/lab-injected \"",
];

/// The same numbers each time, so that what fails once fails again (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or_default()
    }

    fn word(&mut self) -> String {
        let count = self.below(9);
        (0..count).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }
}

fn unit(commands: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("[Service]\nType=oneshot\nStandardOutput=append:{GOT}\n");
    commands.into_iter().for_each(|command| text.push_str(&command));
    text
}

/// Starts the unit and returns what its program was given.
fn run(node: &Node, text: &str) -> Result<Vec<u8>> {
    node.put(UNIT, text, 0o644)?;
    node.sh("rm -f \"$1\" \"$2\"; systemctl daemon-reload; systemctl start lab-words", &[GOT, INJECTED])?;
    node.get(GOT)
}

fn words_arrive(minor: Minor, name: &str) -> Result<()> {
    let run_of_the_lab = Run::start(name)?;
    let node = Node::boot(&run_of_the_lab, &Artefacts::ensure(minor)?, "worker-1")?;
    node.put(PROGRAM, "#!/bin/sh\nprintf '%s\\0' \"$@\"\n", 0o755)?;

    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut commands: Vec<Vec<String>> =
        (0..COMMANDS).map(|_| (0..WORDS).map(|_| numbers.word()).collect()).collect();
    // The longest that is likely: a certificate in a flag would be shorter.
    commands.push(vec!["% \"\\$".repeat(64 * 1024 / 5), String::new(), "\\".to_owned(), "\"".to_owned()]);
    let flags =
        |words: &Vec<String>| words.iter().map(|word| ("f".to_owned(), word.clone())).collect::<Vec<_>>();
    let text = unit(commands.iter().map(|words| exec_start(PROGRAM, &flags(words))));

    let got = run(&node, &text)?;
    let expected = commands.iter().flatten().map(|word| format!("--f={word}"));
    let mut found = got.strip_suffix(b"\0").context("nothing was executed")?.split(|byte| *byte == 0);
    for (number, word) in expected.enumerate() {
        let found = found.next().with_context(|| format!("only {number} words arrived"))?;
        ensure!(
            found == word.as_bytes(),
            "word {number}: {word:?} arrived as {:?}",
            String::from_utf8_lossy(found)
        );
    }
    ensure!(found.next().is_none(), "more words arrived than were written");
    ensure!(node.get(INJECTED).is_err(), "a word was executed");
    let property = |name| node.exec(&["systemctl", "show", "--property", name, "--value", "lab-words"]);
    ensure!(property("ExecStartPre")?.trim().is_empty(), "a word became a directive");
    let found = property("ExecStart")?.matches(&format!("{{ path={PROGRAM} ; ")).count();
    ensure!(found == commands.len(), "{found} commands, and {} were written", commands.len());
    let said = node.sh("systemd-analyze verify \"$1\" 2>&1", &[UNIT])?;
    ensure!(said.is_empty(), "systemd-analyze verify: {said}");

    // The control: written as it is, the same word is executed.
    let mut careless = String::new();
    write!(careless, "ExecStart=\"{PROGRAM}\" --f={INJECTION}")?;
    run(&node, &unit([careless]))?;
    node.get(INJECTED).context("the same word without quotes was not executed").map(drop)
}

#[test]
fn ten_thousand_words_reach_a_program_through_systemd_257() -> Result<()> {
    words_arrive(Minor::V1_36, "words")
}

#[test]
fn ten_thousand_words_reach_a_program_through_systemd_252() -> Result<()> {
    words_arrive(Minor::V1_20, "words-oldest")
}
