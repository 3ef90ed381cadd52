//! Several formats, from the request to the row.

use serde_json::json;

use crate::{
    payload::{blood_pressure, ecg, glucose, heart_rate, weight},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_format_becomes_rows_of_one_shape() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.client.post_medisante(&blood_pressure()).await;
    let entry = |resource| json!({ "resource": resource });
    let bundle = json!({
        "resourceType": "Bundle", "type": "batch",
        "entry": [entry(weight("w-1", 81.4)), entry(weight("w-2", 81.6))],
    });
    world.client.post("/health-data/medisante/fhir-json", &bundle).await;
    world.client.post("/health-data/healthkit/fhir-json", &weight("w-1", 70.0)).await;
    world.client.post("/health-data/healthkit/standard-json", &json!([heart_rate(61)])).await;
    world.until_count("SELECT count(*) FROM attributed_readings", 8).await;

    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', a.provider, r.format, a.device_id, a.panel_code, a.code, a.value_num, a.unit)
         FROM attributed_readings a JOIN readings r USING (reading_id) ORDER BY 1",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    assert_eq!(
        rows,
        [
            "healthkit fhir-json scale-1 29463-7 70.0 kg",
            "healthkit standard-json watch-1 8867-4 61 /min",
            "medisante fhir-json scale-1 29463-7 81.4 kg",
            "medisante fhir-json scale-1 29463-7 81.6 kg",
            "medisante standard-json 350000000000001 15074-8 5.6 mmol/L",
            "medisante standard-json Invented Devices:BP-800:000002 85354-9 8462-4 81 mm[Hg]",
            "medisante standard-json Invented Devices:BP-800:000002 85354-9 8480-6 128 mm[Hg]",
            "medisante standard-json Invented Devices:BP-800:000002 8867-4 64 /min",
        ]
    );
    let hub = "SELECT count(*) FROM readings r JOIN device_descriptions d ON d.description_id = r.gateway_id
               WHERE d.device_id = 'Invented Devices:HUB-1:000001'";
    assert_eq!(world.count(hub).await, 2);
    world.assert_ledger(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_stored_once_under_its_hash() {
    let world = World::start().await;
    // "%PDF-1.7 invented" in base64, in two messages.
    for _ in 0..2 {
        world.client.post_medisante(&ecg("JVBERi0xLjcgaW52ZW50ZWQ=")).await;
    }
    world.until_count("SELECT count(*) FROM readings", 2).await;
    let cited = "SELECT count(*) FROM attributed_readings a
                 JOIN document_contents d ON a.document_sha256 = d.document_sha256
                     AND d.document_sha256 = encode(sha256(d.content), 'hex')
                 WHERE convert_from(d.content, 'UTF8') = '%PDF-1.7 invented' AND d.content_type = 'application/pdf'";
    world.until_count(cited, 2).await;
    assert_eq!(world.count("SELECT count(*) FROM documents").await, 1);
    world.assert_ledger(2).await;
}
