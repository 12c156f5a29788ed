//! What changes which parameters of a policy train: frozen parts and low-rank adapters. It extends [`crate::Policy`].

mod adapter;
mod freeze;
mod peft;

pub(crate) use self::peft::base_model;
pub use self::peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_folder};
