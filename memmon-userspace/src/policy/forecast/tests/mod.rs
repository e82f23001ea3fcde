mod cases;
mod contest;
mod series;
mod watch;
