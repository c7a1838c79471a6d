//! Endpoints that fail, come back and ask for pauses, by a clock of the test's own; simulated ones in `simulation`.

mod breaker;
mod simulation;
