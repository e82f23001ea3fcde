mod cases;
mod contest;
mod series;
