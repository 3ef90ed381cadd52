//! What the service crate promises on its own, without a cluster.

#[cfg(test)]
mod recall;
