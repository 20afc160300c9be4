//! Tables without borders, as wide as their contents.

use comfy_table::{Table, presets};

use super::{has_colour, line};

/// What a word means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Doubtful,
    Bad,
}

/// The text in its tone's colour, where colour is wanted.
pub(crate) fn toned(text: &str, tone: Tone) -> String {
    if !has_colour() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => 32,
        Tone::Doubtful => 33,
        Tone::Bad => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Prints a table; an empty cell is a dash.
pub(crate) fn print_table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) {
    for text in render_table(header, rows) {
        line(&text);
    }
}

/// The lines of a table; an empty cell is a dash.
pub(crate) fn render_table<const N: usize>(
    header: [&str; N],
    rows: Vec<[String; N]>,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|text| text.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_cells_are_dashes() {
        let rows = vec![["a".into(), String::new()], ["longer".into(), "x".into()]];
        assert_eq!(render_table(["NAME", "B"], rows), ["NAME     B", "a        -", "longer   x"]);
    }
}
