//! `inspect`: a segment of a node's log, as people read it.

use std::io::Read;

use super::args::{Format, InspectArgs};
use super::exit::Exit;
use super::screen::Screen;
use super::show::json_line;
use super::trouble::Trouble;
use crate::storage::{Options, dump};

/// Larger than any segment that a node writes.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Prints the file. It is read as it is, whether its node runs or not.
pub(crate) fn inspect(args: &InspectArgs, screen: &mut Screen) -> Result<Exit, Trouble> {
    let failed = |error| Trouble::io(args.file.display(), &error, "nothing was changed");
    let file = std::fs::File::open(&args.file).map_err(failed)?;
    let mut bytes = Vec::with_capacity(Options::default().segment_bytes as usize);
    file.take(SEGMENT_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let mut text = Vec::new();
    dump(&name, &bytes, &mut text).map_err(failed)?;
    match screen.format {
        Format::Table => screen.print(text),
        Format::Json => {
            let text = String::from_utf8_lossy(&text);
            screen.print(json_line(&text.lines().collect::<Vec<_>>()));
        }
    }
    Ok(Exit::Ok)
}
