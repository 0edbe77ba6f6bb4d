//! Events, spans and metrics: what the reference says of them, and what is emitted.

mod metrics;
mod operators;
mod reference;
mod traces;
