//! systemd's unit files: settings with their lines, and the words of a command (systemd.syntax(7), systemd.service(5)).

/// A setting: `key=value` in a section.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Text,
}

/// A value that may have been written over several lines.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    /// Where in the text each line of the file begins, and its number.
    lines: Vec<(usize, u32)>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) line: u32,
}

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) message: String,
}

fn fault(line: u32, message: &str) -> Fault {
    Fault { line, message: message.to_owned() }
}

/// Whether a text looks like a unit file.
pub(super) fn is_unit(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| matches!(line, "[Unit]" | "[Service]"))
}

/// Whether a line says nothing.
pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// The settings of a unit file. A line that ends in `\` goes on in the next one; comments between are skipped.
///
/// # Errors
///
/// A line that is none, or a last line that goes on.
pub(super) fn settings(text: &str) -> Result<Vec<Setting>, Fault> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut open: Option<Text> = None;
    let mut in_section = false;
    for (number, line) in (1u32..).zip(text.lines()) {
        if is_comment(line) || (line.trim().is_empty() && open.is_none()) {
            continue;
        }
        let goes_on = line.trim_end().strip_suffix('\\');
        let content = goes_on.unwrap_or(line).trim();
        let mut whole = open.take().unwrap_or_default();
        whole.push(content, number);
        if goes_on.is_some() {
            open = Some(whole);
        } else if whole.text.starts_with('[') {
            in_section = true;
        } else {
            settings.push(
                whole
                    .setting()
                    .filter(|_| in_section)
                    .ok_or_else(|| fault(number, "expected `[Section]` or `Key=value` in a section"))?,
            );
        }
    }
    match open {
        Some(text) => {
            Err(fault(text.line_at(text.text.len()), "the last line ends in `\\`, and nothing follows"))
        }
        None => Ok(settings),
    }
}

impl Text {
    fn push(&mut self, content: &str, line: u32) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), line));
        self.text.push_str(content);
    }

    /// The line of the file that this place came from.
    pub(super) fn line_at(&self, offset: usize) -> u32 {
        self.lines.iter().take_while(|(start, _)| *start <= offset).last().map_or(0, |(_, line)| *line)
    }

    fn setting(self) -> Option<Setting> {
        let (key, value) = self.text.split_once('=')?;
        let (key, before) = (key.trim().to_owned(), key.len() + 1);
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        let lines = self.lines.iter().map(|(start, line)| (start.saturating_sub(before), *line)).collect();
        Some(Setting { key, value: Text { text: value.to_owned(), lines } })
    }

    /// The words of a command, quotes and escapes resolved.
    ///
    /// # Errors
    ///
    /// A quote that does not end, or a specifier: only the machine it is for knows what that is.
    pub(super) fn words(&self) -> Result<Vec<Word>, Fault> {
        let mut words = Vec::new();
        let mut chars = self.text.char_indices().peekable();
        let mut word: Option<Word> = None;
        let mut quote: Option<(char, u32)> = None;
        while let Some((offset, c)) = chars.next() {
            let line = self.line_at(offset);
            if quote.is_none() && c.is_whitespace() {
                words.extend(word.take());
                continue;
            }
            let text = &mut word.get_or_insert_with(|| Word { text: String::new(), line }).text;
            match (quote, c) {
                (Some((open, _)), _) if c == open => quote = None,
                (None, '"' | '\'') => quote = Some((c, line)),
                (_, '\\') => escape(&mut chars, text),
                (_, '%') => percent(&mut chars, text).map_err(|name| Fault {
                    line,
                    message: format!("write what the specifier `%{name}` stands for"),
                })?,
                _ => text.push(c),
            }
        }
        if let Some((open, line)) = quote {
            return Err(Fault { line, message: format!("a quote `{open}` that does not end") });
        }
        words.extend(word);
        Ok(words)
    }
}

/// What follows a percent sign: another one, or a letter that only the machine knows; it stands for itself before
/// anything else.
fn percent(
    chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    text: &mut String,
) -> Result<(), char> {
    match chars.peek().map(|(_, c)| *c) {
        Some(name) if name.is_ascii_alphabetic() => return Err(name),
        Some('%') => drop(chars.next()),
        _ => {}
    }
    text.push('%');
    Ok(())
}

/// What follows a backslash. One that is no escape stands for itself, as systemd has it.
fn escape(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, text: &mut String) {
    let known = |c| match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        's' => Some(' '),
        '\\' | '"' | '\'' => Some(c),
        _ => None,
    };
    match chars.peek().and_then(|(_, c)| known(*c)) {
        Some(c) => {
            text.push(c);
            chars.next();
        }
        None => text.push('\\'),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<(String, u32)>, Fault> {
        let unit = format!("[Service]\nExecStart={text}\n");
        let words = settings(&unit)?.remove(0).value.words()?;
        Ok(words.into_iter().map(|word| (word.text, word.line)).collect())
    }

    #[test]
    fn words_go_over_lines_and_remember_theirs() {
        let found = words("/k \\\n  --a=1 \\\n# between\n  --b 'x y' \\\n  --c=\"1 2\"3").unwrap();
        let found: Vec<(&str, u32)> = found.iter().map(|(text, line)| (text.as_str(), *line)).collect();
        assert_eq!(found, [("/k", 2), ("--a=1", 3), ("--b", 5), ("x y", 5), ("--c=1 23", 6)]);
    }

    #[test]
    fn escapes_and_doubled_signs_are_resolved() {
        let found = words(r#"/k a\sb "c\"d" 10%% 10%, \q '' 5%"#).unwrap();
        let found: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(found, ["/k", "a b", "c\"d", "10%", "10%,", "\\q", "", "5%"]);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, part) in [
            ("/k \\\n  '--a=1 \\\n  --b", 3, "a quote `'` that does not end"),
            ("/k \\\n  --name=%H", 3, "the specifier `%H`"),
            ("/k \\\n  --a \\", 3, "nothing follows"),
            ("/k\nnonsense", 3, "expected `[Section]` or `Key=value`"),
        ] {
            let fault = words(text).unwrap_err();
            assert!(fault.line == line && fault.message.contains(part), "{text}: {fault:?}");
        }
        assert_eq!(settings("A=b\n").unwrap_err().line, 1);
    }
}
