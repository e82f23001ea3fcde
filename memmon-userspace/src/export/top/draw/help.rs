//! What the keys and the columns mean.

use ratatui::{Frame, layout::Rect, text::Line};

const TEXT: &str = "\
q, Ctrl-C   quit                           Tab, 1 to 4     views
Enter       page of the unit               Esc             back; no filter
/           filter by name or priority     s, r            sort by what; reverse
p, space    pause, go on                   Ctrl-Z, Ctrl-L  suspend; draw again
arrows, j k, PgUp PgDn, Home End           move

UNITS  !  critical alarm, w warning, L memmon has changed a limit (lease)
       OUT/s, IN/s  pages to swap and back per second; - until two reports came
       PSI %    share of the last 10 s in which its tasks waited for memory
       HISTORY  swap-outs, a column is 10 s, each step four times as many:
                up to 1, 4, 16, 64, 256, 1024, 4096, more pages/s
       n/a      this kernel or a missing agent cannot tell
BLAME  since the agent started: whose pages were pushed out, by whom, on what
       occasion; below, what memmon does or proposes
";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect) {
    super::lines(frame, area, TEXT.lines().map(Line::raw));
}

#[cfg(test)]
mod tests {
    use super::TEXT;

    #[test]
    fn it_fits_80_columns() {
        assert!(TEXT.lines().all(|line| line.len() <= 80), "{TEXT}");
    }
}
