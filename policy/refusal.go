package policy

// RefusalPrefix begins each refusal that the extender returns and that the scheduler writes into the condition of the
// Pod. The Reason follows.
const RefusalPrefix = "Spillway "
