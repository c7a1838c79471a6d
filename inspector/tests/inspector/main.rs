//! The inspector as its clients and its readers meet it: over real HTTP, on loopback.
#![expect(unused_crate_dependencies, reason = "they are the library's")]

#[cfg(test)]
mod api;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod live;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod process;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod support;
