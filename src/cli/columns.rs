//! Plain aligned columns.

/// Rows of cells in columns as wide as their widest cell, two blanks between them. Columns whose
/// index is in `right` are set flush right. Nothing follows the last cell of a row.
///
/// `paint` is told the row, the column and the padded cell, so that colour does not disturb widths.
pub(crate) fn columns(
    rows: &[Vec<String>],
    right: &[usize],
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::new();
        let mut blanks = 0;
        for (column, cell) in row.iter().enumerate() {
            let padding = widths[column] - cell.chars().count();
            let (before, after) = if right.contains(&column) { (padding, 0) } else { (0, padding) };
            if !cell.is_empty() {
                line.push_str(&" ".repeat(blanks + before));
                line.push_str(&paint(at, column, cell));
                blanks = after + 2;
            } else {
                blanks += padding + 2;
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Columns without colour.
pub(crate) fn plain_columns(rows: &[Vec<String>], right: &[usize]) -> String {
    columns(rows, right, |_, _, cell| cell.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up_and_nothing_trails() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows = [row(&["NODE", "KEYS", "ZONE"]), row(&["a", "12", ""]), row(&["bö", "3", "x"])];
        assert_eq!(plain_columns(&rows, &[1]), "NODE  KEYS  ZONE\na       12\nbö       3  x\n");
    }
}
