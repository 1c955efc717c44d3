// Package proxy stands between the components of a trial system and applies faults: APIServer between one client and
// the API server, Extender between the scheduler and the extender. Without a fault they pass on every byte, and record
// requests, answers and bindings.
//
// The harness switches faults on and off. The proxies do not decide anything.
package proxy
