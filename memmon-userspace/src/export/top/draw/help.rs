//! What the keys and the columns mean.

use ratatui::{Frame, layout::Rect, text::Line};

const TEXT: &str = "\
q, Ctrl-C       quit                       Tab, 1 to 4      views
Enter           page of the unit           Esc              back; drop the filter
/               filter by name, priority   s, r             sort by what; reverse
p, space        pause, go on               Ctrl-Z, Ctrl-L   suspend; draw again
arrows, j k, PgUp PgDn, Home End           move

UNITS  !  critical alarm, w warning, L memmon has changed a limit (lease)
       OUT/s, IN/s  pages to swap and back per second; - after the second report
       PSI %    share of the last 10 s in which tasks of the unit waited for memory
       HISTORY  swap-outs, a column is 10 s, each step four times as many:
                up to 1, 4, 16, 64, 256, 1024, 4096, more pages/s
       n/a      this kernel or a missing agent cannot tell
BLAME  since the agent started: whose pages were pushed out, by whom, on what
       occasion; below, what memmon does or proposes
";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect) {
    super::lines(frame, area, TEXT.lines().map(Line::raw));
}
