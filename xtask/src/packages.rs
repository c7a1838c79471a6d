//! stub: installs missing Debian packages, or prints the line that does
