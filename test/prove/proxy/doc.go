// Package proxy stands between the parts of a trial system and disturbs them: APIServer between one client and the API server, Extender
// between the scheduler and the extender. Undisturbed they pass on what they get, byte by byte, and note questions, answers and
// bindings in the record.
//
// They disturb when they are told to, and decide nothing.
package proxy
