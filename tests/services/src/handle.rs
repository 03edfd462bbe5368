//! The methods that every server handle has.

/// Gives a type with fields `server` and `url` the common methods.
#[macro_export]
#[doc(hidden)]
macro_rules! server_handle {
    ($type:ty) => {
        impl $type {
            /// URL for clients.
            pub fn url(&self) -> &str {
                &self.url
            }

            /// Process id; 0 while it is killed.
            pub fn pid(&self) -> u32 {
                self.server.pid()
            }

            /// Its temp folder, with its log.
            pub fn dir(&self) -> &std::path::Path {
                self.server.dir()
            }

            /// `kill -9`; returns when the process is gone. [`Self::restart`] brings it back.
            pub fn kill9(&mut self) {
                self.server.kill9();
            }

            /// SIGSTOP: connections stay open and nothing answers, until [`Self::thaw`].
            pub fn freeze(&self) {
                self.server.freeze();
            }

            /// Lets a frozen server go on.
            pub fn thaw(&self) {
                self.server.thaw();
            }

            /// Starts it again on the same port and data (stops it first if it runs); returns when
            /// it answers.
            ///
            /// # Errors
            /// When it does not come up.
            pub fn restart(&mut self) -> Result<(), $crate::Error> {
                self.server.restart()
            }
        }
    };
}
