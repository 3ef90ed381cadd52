//! The element names that FHIR R4 defines for an Observation and a Quantity.

/// Whether a name is that of an element of an Observation (FHIR R4, observation.html), including those of every resource.
pub(super) fn is_of_observation(name: &str) -> bool {
    matches!(
        name,
        "id" | "meta"
            | "implicitRules"
            | "language"
            | "text"
            | "contained"
            | "identifier"
            | "basedOn"
            | "partOf"
            | "status"
            | "category"
            | "subject"
            | "focus"
            | "encounter"
            | "effectiveDateTime"
            | "effectivePeriod"
            | "effectiveTiming"
            | "effectiveInstant"
            | "issued"
            | "performer"
            | "note"
            | "bodySite"
            | "method"
            | "specimen"
            | "device"
            | "hasMember"
            | "derivedFrom"
            | "component"
    ) || is_of_component(name)
}

/// Whether a name is that of an element of a component. An Observation has all of these too.
pub(super) fn is_of_component(name: &str) -> bool {
    matches!(
        name,
        "extension" | "modifierExtension" | "code" | "dataAbsentReason" | "interpretation" | "referenceRange"
    ) || is_value(name)
}

/// Whether a name is that of an element of a Quantity (FHIR R4, datatypes.html#Quantity).
pub(super) fn is_of_quantity(name: &str) -> bool {
    matches!(name, "extension" | "value" | "comparator" | "unit" | "system" | "code")
}

/// Whether a name is one of `value[x]` (FHIR R4, observation.html).
pub(super) fn is_value(name: &str) -> bool {
    matches!(
        name,
        "valueQuantity"
            | "valueCodeableConcept"
            | "valueString"
            | "valueBoolean"
            | "valueInteger"
            | "valueRange"
            | "valueRatio"
            | "valueSampledData"
            | "valueTime"
            | "valueDateTime"
            | "valuePeriod"
    )
}
