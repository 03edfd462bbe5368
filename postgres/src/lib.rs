//! How PostgreSQL is reached, for all who do: what a URL says of the server, in clear text or over TLS, and whom
//! TLS trusts. Nothing here knows a table.

mod target;
mod tls;

pub use target::{BadTarget, Target};
pub use tls::{Handshake, Stream, Tls};
