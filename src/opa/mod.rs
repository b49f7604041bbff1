//! OPA's management protocols (OPS-6): signed bundles in, decision logs and status reports out.

mod settings;
mod limits;
mod error;
mod archive;
mod canonical;
mod manifest;
mod signature;
mod bundle;
mod kept;
mod signer;
mod status;
mod download;
mod check;
mod follow;
mod event;
mod mask;
mod chunks;
mod reporter;
mod decision_log;
mod reports;

pub use bundle::{is_archive, read};
pub use check::{CheckError, check};
pub use decision_log::{DecisionLog, LogCounts, LogStatus};
pub use error::BundleError;
pub use follow::follow;
pub use reports::{PolicyReport, StatusReport, report_status};
pub use settings::{
    BundleFrom, BundleServer, BundleSettings, LogSettings, ReportSettings, Signer, SignerKeys,
    StatusSettings, Trust,
};
pub use status::{BundleStatus, Downloads, Trouble};
