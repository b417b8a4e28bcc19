//! Tables for people: a row of headings, columns as wide as their widest cell, nothing at the ends of lines.

use std::io::{self, Write};

/// Writes `rows` under `heads`.
pub fn table<const N: usize>(out: &mut dyn Write, heads: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = heads.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(out, &widths, heads.iter().copied())?;
    rows.iter().try_for_each(|row| line(out, &widths, row.iter().map(String::as_str)))
}

fn line<'a>(out: &mut dyn Write, widths: &[usize], cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let cells: Vec<String> = cells.zip(widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
    writeln!(out, "{}", cells.join("  ").trim_end())
}

/// `text`, or a dash where there is none.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The first eight digits of an id: enough for a person, and a prefix that commands take.
pub fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_ends() {
        let mut out = Vec::new();
        table(&mut out, ["A", "NAME"], &[["long".into(), "x".into()], ["y".into(), String::new()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     NAME\nlong  x\ny\n");
    }
}
