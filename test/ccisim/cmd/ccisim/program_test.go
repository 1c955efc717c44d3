package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/programtest"
)

func TestInvalidFlagsAreRefused(t *testing.T) {
	cases := map[string]struct {
		args    []string
		message string
	}{
		"no flags":                {nil, "credentialsFile"},
		"an address without port": {[]string{"--listen=here", "--credentials-file=x"}, `listen: Invalid value: "here"`},
		"a control port, no host": {
			[]string{"--control-listen=here", "--credentials-file=x"}, `controlListen: Invalid value: "here"`,
		},
		"a certificate, no key": {[]string{"--tls-cert-file=c", "--credentials-file=x"}, "tlsCertFile"},
		"a start delay of zero": {[]string{"--start-delay=0s", "--credentials-file=x"}, "startDelay"},
		"an unknown level":      {[]string{"--log-level=loud", "--credentials-file=x"}, "logging.level"},
		"a subnet with one ID": {
			[]string{"--subnet=v", "--credentials-file=x"}, `"v" for "--subnet"`,
		},
		"a subnet without an ID": {
			[]string{"--subnet=v,", "--credentials-file=x"}, "subnets[0].neutronId: Required",
		},
		"a subnet that is no range": {
			[]string{"--subnet=v,n,10.0.0.1", "--credentials-file=x"}, `subnets[0].cidr: Invalid value: "10.0.0.1"`,
		},
		"an unknown flag": {[]string{"--speed=9"}, "speed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := program(context.Background(), tc.args)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, tc.message)
		})
	}
}

func credentials(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials.yaml")
	require.NoError(t, os.WriteFile(file, []byte("accessKey: a\nsecretKey: s\nauthToken: tok\n"), 0o600))
	return file
}

func TestProgramReturnsErrorsOfFiles(t *testing.T) {
	assert.ErrorContains(t, program(t.Context(), []string{"--credentials-file=nowhere.yaml"}), "nowhere.yaml")
	err := program(t.Context(), []string{"--credentials-file", credentials(t), "--subnet-cidr=here"})
	assert.ErrorContains(t, err, `"here"`)
}

// start runs the program on a free port until stop is called.
func start(t *testing.T, args ...string) (base string, stop func() error) {
	t.Helper()
	address := programtest.FreeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- program(ctx, append(args, "--listen", address)) }()
	base = "http://" + address
	require.Eventually(t, func() bool {
		response, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, 20*time.Second, 5*time.Millisecond)
	return base, func() error { cancel(); return <-done }
}

// open sends a request, and returns the response with its body unread.
func open(t *testing.T, method, url, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("X-Auth-Token", "tok")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, response.Body.Close()) })
	return response
}

// call sends a request, reads the response and returns its status.
func call(t *testing.T, method, url, body string) int {
	t.Helper()
	response := open(t, method, url, body)
	_, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response.StatusCode
}

func TestProgramShutsDownGracefullyAndKeepsItsState(t *testing.T) {
	args := []string{"--credentials-file", credentials(t), "--state-file", filepath.Join(t.TempDir(), "state.json")}
	base, stop := start(t, args...)
	body := `{"apiVersion":"cci/v2","kind":"Namespace","metadata":{"name":"kept"}}`
	assert.Equal(t, http.StatusCreated, call(t, "POST", base+"/apis/cci/v2/namespaces", body))
	watch := open(t, "GET", base+"/apis/cci/v2/namespaces?watch=1", "")
	begin := time.Now()
	require.NoError(t, stop())
	assert.Less(t, time.Since(begin), 4*time.Second, "an open watch does not delay the shutdown")
	seen, err := io.ReadAll(watch.Body)
	require.NoError(t, err, "the watch ends properly")
	assert.Contains(t, string(seen), `"name":"kept"`)

	base, stop = start(t, args...)
	assert.Equal(t, http.StatusOK, call(t, "GET", base+"/apis/cci/v2/namespaces/kept", ""))
	require.NoError(t, stop())
}

func TestTheFlagsNameTheSubnetsOfTheAccount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ccisim.yaml")
	require.NoError(t, os.WriteFile(file, []byte("subnets: [{vpcId: replaced, neutronId: n}]\n"), 0o600))
	base, stop := start(t, "--config", file, "--credentials-file", credentials(t),
		"--subnet=v1,n1", "--subnet=v2,n2,10.0.2.0/24")
	for id, status := range map[string]int{"v1": 200, "v2": 200, "n1": 404, "replaced": 404} {
		assert.Equal(t, status, call(t, "GET", base+"/v1/project/subnets/"+id, ""), id)
	}
	require.NoError(t, stop())
}

func TestTheControlAPIHasAPortOfItsOwn(t *testing.T) {
	base, stop := start(t, "--credentials-file", credentials(t))
	assert.Equal(t, http.StatusOK, call(t, "GET", base+"/_sim/faults", ""), "by default it does not")
	require.NoError(t, stop())

	control := programtest.FreeAddress(t)
	base, stop = start(t, "--credentials-file", credentials(t), "--control-listen", control)
	assert.Equal(t, http.StatusNotFound, call(t, "GET", base+"/_sim/faults", ""))
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + control + "/_sim/faults")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	},
		20*time.Second, 5*time.Millisecond)
	assert.Equal(t, http.StatusNotFound, call(t, "GET", "http://"+control+"/apis/cci/v2/namespaces", ""))
	require.NoError(t, stop())
}

func TestTheProgramReplaysATranscript(t *testing.T) {
	file := filepath.Join(t.TempDir(), "transcript.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(
		`{"format":"spillway-doctor-transcript/1"}`+"\n"+
			`{"service":"cci","method":"GET","path":"/readyz","auth":"none","status":200,"text":"ok"}`+"\n"+
			`{"service":"cci","method":"GET","path":"/apis","auth":"none","status":403,"text":"blocked"}`+"\n"+
			`{"service":"cci","method":"GET","path":"/n/events","auth":"none","status":404}`+"\n"+
			`{"service":"cci","method":"GET","path":"/n/spillwaydoctors","auth":"none","status":404}`+"\n"), 0o600))
	base, stop := start(t, "--replay", file)
	assert.Equal(t, http.StatusForbidden, call(t, "GET", base+"/apis", ""))
	assert.Equal(t, http.StatusNotFound, call(t, "GET", base+"/v1/agency", ""), "the transcript does not have it")
	require.NoError(t, stop())
	assert.ErrorContains(t, program(t.Context(), []string{"--replay=nowhere.jsonl"}), "opening the transcript")

	base, stop = start(t, "--credentials-file", credentials(t), "--policies-from", file)
	response, err := http.Get(base + "/_sim/policies")
	require.NoError(t, err)
	policies, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	assert.Contains(t, string(policies), `"events":"none"`)
	require.NoError(t, stop())
	bad := credentials(t)
	assert.ErrorContains(t, program(t.Context(), []string{"--credentials-file", bad, "--policies-from", bad}),
		"reading the transcript "+bad+": line 1: ")
}
