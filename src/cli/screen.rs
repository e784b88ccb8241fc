//! Where commands print: two streams, what they may carry, and how answers are shaped.
//!
//! Invariant: answers go to `out`, everything said about them to `err`; a closed pipe ends the
//! printing quietly, any other failure is told once at the end.

use std::io::{self, IsTerminal, Write};

use super::args::Format;
use super::exit::Exit;
use super::paint::Paint;
use super::trouble::Trouble;

/// How many columns text is laid out for when the terminal does not say.
const WIDTH: usize = 100;

/// Where a command prints.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    /// Where things are said about answers; `None` puts them among the answers.
    err: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
    /// How answers are printed.
    pub format: Format,
    /// Colour on `out`.
    pub paint: Paint,
    /// Colour on `err`.
    pub paint_err: Paint,
    /// Columns to lay text out for.
    pub width: usize,
    /// Whether a raw value is followed by a newline.
    pub newline: bool,
    /// Whether progress may be drawn on standard error.
    pub progress: bool,
    /// Whether `-` may read standard input.
    pub reads_stdin: bool,
}

impl Screen {
    /// The process's own streams.
    pub(crate) fn standard(format: Format) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        Screen {
            format,
            paint: Paint::suits(&out),
            paint_err: Paint::suits(&err),
            width: width(),
            newline: out.is_terminal(),
            progress: err.is_terminal(),
            reads_stdin: true,
            failed: None,
            out: Box::new(io::BufWriter::new(out)),
            err: Some(Box::new(err)),
        }
    }

    /// One stream for everything, for the demo: what is said stays in the order in which it happens.
    pub(crate) fn single(out: Box<dyn Write + Send>, paint: Paint) -> Self {
        Screen {
            format: Format::Table,
            paint,
            paint_err: paint,
            width: width(),
            newline: true,
            progress: false,
            reads_stdin: false,
            failed: None,
            out,
            err: None,
        }
    }

    /// Prints an answer.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) {
        if self.failed.is_none()
            && let Err(error) = self.out.write_all(text.as_ref())
        {
            self.failed = Some(error);
        }
    }

    /// Says something about the answer.
    pub(crate) fn say(&mut self, text: &str) {
        self.flush();
        match &mut self.err {
            // Nobody can be told that standard error does not take what is said.
            Some(err) => drop(err.write_all(text.as_bytes())),
            None => self.print(text),
        }
    }

    /// Tells an error.
    pub(crate) fn trouble(&mut self, trouble: &Trouble) {
        let text = match self.format {
            Format::Table => trouble.text(self.paint_err),
            Format::Json => trouble.json(),
        };
        self.say(&text);
    }

    /// Passes on what was printed.
    pub(crate) fn flush(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.out.flush()
        {
            self.failed = Some(error);
        }
    }

    /// Whether whoever read the answers is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends the printing: the exit that is left after what could not be printed.
    pub(crate) fn end(&mut self, exit: Exit) -> Exit {
        self.flush();
        match self.failed.take() {
            None => exit,
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
            Some(error) => {
                let state = "the command itself was carried out";
                self.trouble(&Trouble::io("the answer could not be printed", &error, state));
                Exit::Error
            }
        }
    }
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(WIDTH).clamp(60, 200)
}
