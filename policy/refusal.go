package policy

// RefusalPrefix begins what the extender writes into the condition of a Pod that it refuses; the Reason follows.
const RefusalPrefix = "Spillway "
