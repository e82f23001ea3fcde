//! memmon's web page with a made-up agent behind it, for the test of the page and for whoever changes it: no kernel,
//! no root. The server, the router, the stream and the history are the agent's own.

pub mod history;
pub mod play;
