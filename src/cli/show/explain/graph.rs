//! A drawing of who had seen what: a column of events with lines between them, as version control
//! tools draw histories.
//!
//! Invariant: a line goes down from an event to another only if the lower one's writer had seen the
//! upper one; the lines that reach the bottom are the values that nothing has replaced.

/// An event to draw, below all that it is linked to.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Earlier events that lines come from.
    pub parents: Vec<usize>,
    /// Whether a line goes on to the bottom when nobody has seen it.
    pub reaches_bottom: bool,
    /// The mark on the line.
    pub mark: char,
    /// The text beside the mark, then the lines under it.
    pub text: Vec<String>,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Event(usize),
    Bottom,
}

/// More lines side by side than this are not drawn.
const LANES_MAX: usize = 8;

/// A drawn row: the lines, which lane the row's mark is on, and the text to the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The lines and the mark.
    pub lines: String,
    /// The event whose row it is; `None` between events.
    pub event: Option<usize>,
    /// What is said beside it.
    pub text: String,
}

/// The events from top to bottom, and how many lines reach the bottom.
pub(super) fn draw(events: &[Event], bottom: &str) -> Vec<Row> {
    let mut canvas = Canvas { lanes: Vec::new(), rows: Vec::new(), widest: 0 };
    for (at, event) in events.iter().enumerate() {
        canvas.event(at, event, &targets(events, at));
    }
    canvas.bottom(bottom);
    if canvas.widest > LANES_MAX { list(events, bottom) } else { canvas.rows }
}

/// Where the lines of an event go: to each event that names it as a parent, or to the bottom.
fn targets(events: &[Event], at: usize) -> Vec<Target> {
    let children = (at + 1..events.len()).filter(|child| events[*child].parents.contains(&at));
    let mut targets: Vec<Target> = children.map(Target::Event).collect();
    if targets.is_empty() && events[at].reaches_bottom {
        targets.push(Target::Bottom);
    }
    targets
}

/// The events without lines, when there are too many to draw.
fn list(events: &[Event], bottom: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, event) in events.iter().enumerate() {
        for (index, text) in event.text.iter().enumerate() {
            let lines = if index == 0 { event.mark } else { ' ' }.to_string();
            rows.push(Row { lines, event: Some(at), text: text.clone() });
        }
    }
    rows.push(Row { lines: "▼".to_owned(), event: None, text: bottom.to_owned() });
    rows
}

struct Canvas {
    lanes: Vec<Option<Target>>,
    rows: Vec<Row>,
    widest: usize,
}

impl Canvas {
    fn event(&mut self, at: usize, event: &Event, targets: &[Target]) {
        let incoming: Vec<usize> = (0..self.lanes.len())
            .filter(|lane| self.lanes[*lane] == Some(Target::Event(at)))
            .collect();
        let lane = match incoming.first() {
            Some(&lane) => lane,
            None => self.free_after(0),
        };
        if incoming.len() > 1 {
            self.turn(lane, &incoming[1..], '┴', '╯');
            incoming[1..].iter().for_each(|gone| self.lanes[*gone] = None);
        }
        self.lanes[lane] = Some(Target::Event(at));
        for (index, text) in event.text.iter().enumerate() {
            if index == 1 {
                self.lanes[lane] = targets.first().copied();
            }
            let mut cells = self.cells();
            if index == 0 {
                cells[lane * 2] = event.mark;
            }
            self.row(cells, Some(at), text);
        }
        self.lanes[lane] = targets.first().copied();
        let mut opened = Vec::new();
        for target in targets.iter().skip(1) {
            let new = self.free_after(lane + 1);
            self.lanes[new] = Some(*target);
            opened.push(new);
        }
        if !opened.is_empty() {
            self.turn(lane, &opened, '┬', '╮');
        }
    }

    fn bottom(&mut self, text: &str) {
        let lanes: Vec<usize> =
            (0..self.lanes.len()).filter(|lane| self.lanes[*lane].is_some()).collect();
        let Some((&first, others)) = lanes.split_first() else {
            self.row(vec![' '], None, text);
            return;
        };
        let mut cells = vec![' '; self.lanes.len() * 2];
        let last = others.last().copied().unwrap_or(first);
        cells[first * 2..=last * 2].fill('─');
        cells[first * 2] = '╰';
        others.iter().for_each(|lane| cells[lane * 2] = '┴');
        cells[last * 2 + 1] = '▶';
        self.row(cells, None, text);
    }

    /// A row in which lines leave `lane` to the right, or come into it from there.
    fn turn(&mut self, lane: usize, others: &[usize], middle: char, end: char) {
        let mut cells = self.cells();
        let last = others.last().copied().unwrap_or(lane);
        for (at, cell) in cells.iter_mut().enumerate().take(last * 2 + 1).skip(lane * 2) {
            *cell = match at / 2 {
                _ if at == lane * 2 => '├',
                other if at % 2 == 0 && other == last => end,
                other if at % 2 == 0 && others.contains(&other) => middle,
                _ if *cell == '│' => '┼',
                _ => '─',
            };
        }
        self.row(cells, None, "");
    }

    /// The lines that pass straight through a row.
    fn cells(&self) -> Vec<char> {
        self.lanes.iter().flat_map(|lane| [if lane.is_some() { '│' } else { ' ' }, ' ']).collect()
    }

    fn row(&mut self, cells: Vec<char>, event: Option<usize>, text: &str) {
        self.widest = self.widest.max(self.lanes.len());
        let lines: String = cells.into_iter().collect();
        self.rows.push(Row { lines: lines.trim_end().to_owned(), event, text: text.to_owned() });
    }

    fn free_after(&mut self, from: usize) -> usize {
        match (from..self.lanes.len()).find(|lane| self.lanes[*lane].is_none()) {
            Some(lane) => lane,
            None => {
                self.lanes.push(None);
                self.lanes.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(parents: &[usize], text: &str) -> Event {
        let text = vec![text.to_owned()];
        Event { parents: parents.to_vec(), reaches_bottom: true, mark: '●', text }
    }

    fn drawn(events: &[Event]) -> String {
        let rows = draw(events, "end");
        let line = |row: &Row| format!("{} {}", row.lines, row.text).trim_end().to_owned() + "\n";
        rows.iter().map(line).collect()
    }

    #[test]
    fn a_chain_is_one_line() {
        assert_eq!(drawn(&[event(&[], "a"), event(&[0], "b")]), "● a\n● b\n╰▶ end\n");
    }

    #[test]
    fn a_fork_stays_open_and_a_merge_closes_it() {
        let mut events = vec![event(&[], "a"), event(&[0], "b"), event(&[0], "c")];
        assert_eq!(drawn(&events), "● a\n├─╮\n● │ b\n│ ● c\n╰─┴▶ end\n");
        events.push(event(&[1, 2], "d"));
        assert_eq!(drawn(&events), "● a\n├─╮\n● │ b\n│ ● c\n├─╯\n● d\n╰▶ end\n");
    }

    #[test]
    fn lines_cross_where_they_must() {
        // b and c fork from a; d, e come from b across c's line.
        let events = [
            event(&[], "a"),
            event(&[0], "b"),
            event(&[0], "c"),
            event(&[1], "d"),
            event(&[1, 2], "e"),
        ];
        let text = "● a\n├─╮\n● │ b\n├─┼─╮\n│ ● │ c\n● │ │ d\n│ ├─╯\n│ ● e\n╰─┴▶ end\n";
        assert_eq!(drawn(&events), text);
    }

    #[test]
    fn what_ended_does_not_reach_the_bottom() {
        let mut events = vec![event(&[], "a"), event(&[], "b")];
        events[0].reaches_bottom = false;
        assert_eq!(drawn(&events), "● a\n● b\n╰▶ end\n");
        events[1].reaches_bottom = false;
        assert_eq!(drawn(&events), "● a\n● b\n end\n");
    }

    #[test]
    fn too_many_lines_become_a_list() {
        let events: Vec<Event> = (0..20).map(|n| event(&[], &n.to_string())).collect();
        let rows = draw(&events, "end");
        assert_eq!(rows.len(), 21);
        assert!(rows.iter().all(|row| row.lines.chars().count() == 1));
    }
}
