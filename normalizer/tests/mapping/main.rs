//! Tests of the mapping: pairs of input and events, ids and contents, real payloads, and random input.

#[cfg(test)]
mod app;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod example;
#[cfg(test)]
mod export;
#[cfg(test)]
mod fhir;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod healthkit;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod medisante;
#[cfg(test)]
mod record;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod soup;
#[cfg(test)]
mod xml;
