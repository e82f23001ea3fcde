//! Which exit code the failures of the stages end with.

use super::{ExitCode, Failure};
use crate::{
    kernel::load::LoadError,
    runtime::{agent::AgentError, observer::ObserveError, trace::TraceError},
    source::probes::OpenError,
};

/// As the contract has it: what this kernel cannot do is 3, the rest 1.
pub fn of_observer(error: ObserveError) -> Failure {
    let code = match &error {
        ObserveError::Open(
            OpenError::Probe(_) | OpenError::Load(LoadError::Required { .. } | LoadError::Btf(_)),
        )
        | ObserveError::Tree(_) => ExitCode::Unsupported,
        ObserveError::Open(_) | ObserveError::Map(_) | ObserveError::Ring(_) => ExitCode::Failed,
    };
    Failure::new(code, error)
}

/// As [`of_observer`].
pub fn of_trace(error: TraceError) -> Failure {
    match error {
        TraceError::Observe(error) => of_observer(error),
        TraceError::Output(error) => Failure::from(error),
        error @ TraceError::Proc(_) => Failure::from(error),
    }
}

/// As [`of_observer`].
pub fn of_agent(error: AgentError) -> Failure {
    match error {
        AgentError::Observe(error) => of_observer(error),
        error @ (AgentError::Executor(_) | AgentError::Io(_)) => Failure::from(error),
    }
}
