package serve

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout is how long a test waits for what must come.
const timeout = 20 * time.Second

// start runs the server on a free port. end asks it to end; ended gives what Run returned.
func start(t *testing.T, s Server) (address string, end func(), ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listener) }()
	return listener.Addr().String(), cancel, done
}

func requireEnds(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(timeout):
		require.FailNow(t, "the server does not end")
	}
}

func TestAServerSaysThatItsPortIsOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	open := make(chan struct{}, 1)
	server := Server{
		Address: taken.Addr().String(), Handler: http.NotFoundHandler(), Listening: func() { open <- struct{}{} },
	}
	require.ErrorContains(t, server.Run(t.Context()), "address already in use")
	require.Empty(t, open, "it is not open")
	require.NoError(t, taken.Close())
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-open
	_, err = ask(t, server.Address, nil)
	require.ErrorContains(t, err, "HTTP response to HTTPS client", "it answers")
	end()
	requireEnds(t, ended)
}

// issue writes a certificate for 127.0.0.1 with that serial number, and its key, over the files that are there.
func issue(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

// serial shakes hands with the server and returns the number of its certificate. Tests trust whatever they are shown.
func serial(address string, config *tls.Config) (int64, error) {
	config.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }

func TestCertificateIsReadAgainWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := issue(t, dir, 1)
	address, end, ended := start(t, Server{Handler: http.HandlerFunc(ok), CertFile: certFile, KeyFile: keyFile})

	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
	}
	defer client.CloseIdleConnections()
	get := func() *http.Response {
		response, err := client.Get("https://" + address)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "ok", string(body))
		return response
	}
	first := get()
	assert.Equal(t, 2, first.ProtoMajor)
	assert.Equal(t, int64(1), first.TLS.PeerCertificates[0].SerialNumber.Int64())

	issue(t, dir, 2)
	require.Eventually(t, func() bool {
		got, err := serial(address, &tls.Config{})
		return err == nil && got == 2
	}, timeout, 10*time.Millisecond, "new connections get the new certificate")
	assert.Equal(t, int64(1), get().TLS.PeerCertificates[0].SerialNumber.Int64(), "the old connection goes on")

	// Half of a pair is not taken; the whole one is, as soon as it is there.
	require.NoError(t, os.WriteFile(certFile, []byte("not a certificate"), 0o600))
	got, err := serial(address, &tls.Config{})
	require.NoError(t, err)
	assert.Equal(t, int64(2), got)
	issue(t, dir, 3)
	require.Eventually(t, func() bool {
		got, err := serial(address, &tls.Config{})
		return err == nil && got == 3
	}, timeout, 10*time.Millisecond)

	end()
	requireEnds(t, ended)
}

func TestACertificateMayComeFromAFunction(t *testing.T) {
	dir := t.TempDir()
	shown := make(chan tls.Certificate, 1)
	load := func(number int64) {
		pair, err := tls.LoadX509KeyPair(issue(t, dir, number))
		require.NoError(t, err)
		shown <- pair
	}
	address, end, ended := start(
		t,
		Server{Handler: http.HandlerFunc(ok), GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair := <-shown
			return &pair, nil
		}},
	)
	for _, want := range []int64{1, 2} { // It is asked at every handshake.
		load(want)
		got, err := serial(address, &tls.Config{})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	end()
	requireEnds(t, ended)
}

func TestTLSVersions(t *testing.T) {
	certFile, keyFile := issue(t, t.TempDir(), 1)
	other, err := tls.LoadX509KeyPair(issue(t, t.TempDir(), 99))
	require.NoError(t, err)

	cases := map[string]struct {
		base    *tls.Config
		client  *tls.Config
		wantErr string
	}{
		"TLS 1.3 without a base configuration": {nil, &tls.Config{MinVersion: tls.VersionTLS13}, ""},
		"and nothing below":                    {nil, &tls.Config{MaxVersion: tls.VersionTLS12}, "protocol version"},
		"nor where the base does not say": {
			&tls.Config{ClientAuth: tls.RequestClientCert},
			&tls.Config{MaxVersion: tls.VersionTLS12},
			"protocol version",
		},
		"the base may allow TLS 1.2": {
			&tls.Config{MinVersion: tls.VersionTLS12},
			&tls.Config{MaxVersion: tls.VersionTLS12},
			"",
		},
		"a certificate of the base is not used": {
			&tls.Config{Certificates: []tls.Certificate{other}},
			&tls.Config{},
			"",
		},
		"nor where the client names the server it asks": {
			&tls.Config{Certificates: []tls.Certificate{other}},
			&tls.Config{ServerName: "localhost"},
			"",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			address, end, ended := start(
				t,
				Server{Handler: http.HandlerFunc(ok), CertFile: certFile, KeyFile: keyFile, TLS: tc.base},
			)
			got, err := serial(address, tc.client)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
			} else {
				require.NoError(t, err)
				assert.Equal(t, int64(1), got)
			}
			end()
			requireEnds(t, ended)
		})
	}
}

func TestRequestsUnderWayAreFinished(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	address, end, ended := start(t, Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, r.Context().Err())
	})})
	body := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + address)
		if err != nil {
			body <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		body <- string(text)
	}()
	<-entered
	end()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return true
		}
		_ = conn.Close()
		return false
	}, timeout, 5*time.Millisecond, "new clients are rejected")
	close(leave)
	assert.Equal(t, "<nil>", <-body, "the request is answered in full, and its context lives on")
	requireEnds(t, ended)
	http.DefaultClient.CloseIdleConnections()
}

// A stream does not end on its own: the server closes it after the shutdown timeout, so that the program can exit.
func TestAStreamIsCutInTheEnd(t *testing.T) {
	cut := make(chan struct{})
	address, end, ended := start(
		t,
		Server{Streaming: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "first line")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(cut)
		})},
	)
	response, err := http.Get("http://" + address)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "first line\n", line)

	asked := time.Now()
	end()
	requireEnds(t, ended)
	assert.GreaterOrEqual(t, time.Since(asked), shutdownTimeout, "it had its grace")
	<-cut
	_, err = lines.ReadString('\n')
	assert.Error(t, err, "the client sees the end")
	http.DefaultClient.CloseIdleConnections()
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	certFile, keyFile := issue(t, t.TempDir(), 1)
	_, foreignKey := issue(t, t.TempDir(), 2)

	cases := map[string]struct {
		server Server
		want   []string
	}{
		"an address that is taken": {
			Server{Address: taken.Addr().String()},
			[]string{"listening on " + taken.Addr().String(), "address already in use"},
		},
		"an address that is none": {Server{Address: "localhost"}, []string{"listening on localhost", "missing port"}},
		"a certificate without a key": {
			Server{Address: "127.0.0.1:0", CertFile: certFile},
			[]string{certFile, `key ""`, "must both be files"},
		},
		"a key without a certificate": {
			Server{Address: "127.0.0.1:0", KeyFile: keyFile},
			[]string{keyFile, `certificate ""`, "must both be files"},
		},
		"a certificate that is missing": {
			Server{Address: "127.0.0.1:0", CertFile: "nowhere.crt", KeyFile: keyFile},
			[]string{"reading certificate nowhere.crt", "no such file"},
		},
		"clients without TLS": {
			Server{Address: "127.0.0.1:0", ClientCAFile: certFile},
			[]string{"the authority of clients " + certFile, "needs a certificate"},
		},
		"an authority that is missing": {
			Server{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, ClientCAFile: "nowhere.crt"},
			[]string{"reading the authority of clients nowhere.crt", "no such file"},
		},
		"an authority that is none": {
			Server{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, ClientCAFile: keyFile},
			[]string{"reading the authority of clients " + keyFile},
		},
		"two certificates": {
			Server{
				Address:        "127.0.0.1:0",
				CertFile:       certFile,
				KeyFile:        keyFile,
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
			},
			[]string{"must come from files or from a function, not from both"},
		},
		"a key that is not its own": {
			Server{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: foreignKey},
			[]string{"reading certificate", "private key does not match"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.server.Run(t.Context())
			for _, words := range tc.want {
				assert.ErrorContains(t, err, words)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, Server{Address: "127.0.0.1:0", Handler: http.HandlerFunc(ok)}.Run(ctx))
}

func TestAddressesAreHostAndPort(t *testing.T) {
	for value, valid := range map[string]bool{
		":8081": true, "127.0.0.1:8081": true, "[::1]:8081": true, "": false, "8081": false, "localhost:": false,
	} {
		errs := ValidateAddress(field.NewPath("listen"), value, ":8081")
		assert.Equal(t, valid, len(errs) == 0, value)
		if !valid {
			assert.ErrorContains(t, errs.ToAggregate(), "must be host:port, such as :8081")
		}
	}
}
