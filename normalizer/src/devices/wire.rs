//! The bodies of `POST /devices/assign` and `POST /devices/:id/unassign`, as the API documents them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Assign<'a> {
    #[serde(borrow)]
    pub(super) device_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) device_provider: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) assigned_patient_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) device_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) serial_number: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) features: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) effective_from: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unassign<'a> {
    #[serde(borrow, default)]
    pub(super) effective_from: Option<Cow<'a, str>>,
}
