//! Canary values in the place of health data and secrets: none may appear in a log line or a response.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::test_app::{LogBehaviour, TestApp, new_key};

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_canary_is_in_a_log_or_in_a_response() {
    let capture = Capture::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(capture.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut answers = Vec::new();
    for behaviour in [LogBehaviour::Stores, LogBehaviour::Rejects] {
        let test_app = TestApp::with(behaviour, |_| {});
        let secret = test_app.key.clone();
        for (path, body) in [
            ("/health-data/medisante/json?deviceId=CANARY", "{\"value\":\"CANARY\"}"),
            ("/health-data/medisante/json", "{\"value\":CANARY}"),
            ("/health-data/medisante/xml", "<CANARY>CANARY</CANARX>"),
            ("/health-data/healthkit/json?type=CANARY&type=CANARY", "[]"),
            ("/health-data/healthkit/CANARY", "[\"CANARY\"]"),
            (
                "/devices/assign",
                "{\"deviceId\":\"CANARY\",\"assignedPatientId\":\"CANARY\",\"deviceProvider\":\"CANARY\"}",
            ),
            ("/devices/CANARY/unassign", "{\"effectiveFrom\":\"CANARY\"}"),
            ("/CANARY", "CANARY"),
        ] {
            answers.push(test_app.post(path).send(body).await);
            answers.push(test_app.post(path).header("x-patient", "CANARY").send(body).await);
            answers.push(test_app.bare(path).header("x-api-key", "CANARY").send(body).await);
        }
        std::fs::write(&test_app.keys_file, "{\"keys\":[{\"id\":\"CANARY\",\"sha256\":\"CANARY\"}]}").unwrap();
        let error = test_app.keys.refresh().unwrap_err();
        tracing::error!(error = &error as &dyn std::error::Error, "logged as by KeyRing::watch");
        let _other = new_key("x");
        assert!(!String::from_utf8_lossy(&capture.0.lock().unwrap()).contains(&secret));
    }
    let logged = String::from_utf8(capture.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("logged as by KeyRing::watch"), "the capture works");
    assert!(!logged.contains("CANAR"), "{logged}");
    for answer in answers {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("CANAR") && !format!("{:?}", answer.headers).contains("CANAR"), "{text}");
    }
}
