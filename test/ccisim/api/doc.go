// Package api serves the HTTP API of the simulated CCI: routes and discovery, authentication by signatures and tokens,
// the vendor's schema and admission, patches, lists in pages, watches, and the streams of logs and exec.
//
// A Server serves one generation of the API. It decides whether a request is accepted, and with which error it is
// refused. It stores objects in package store, and reports them to package podlife, which changes them afterwards.
// Faults of requests are applied here.
//
// Error texts, statuses and codes are those of the real service, as far as they are known.
package api
