package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// nameServer answers every question with a code, and returns a resolver that asks it.
func nameServer(t *testing.T, code dnsmessage.RCode) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	go func() {
		packet := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return // The test ends.
			}
			var message dnsmessage.Message
			if !assert.NoError(t, message.Unpack(packet[:n])) {
				return
			}
			message.Response, message.RCode, message.Additionals = true, code, nil
			answer, err := message.Pack()
			assert.NoError(t, err)
			_, _ = conn.WriteTo(answer, from) // The client may have given up.
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestANameThatIsNotResolvedIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		resolver *net.Resolver
		want     string
	}{
		"the name does not exist":        {nameServer(t, dnsmessage.RCodeNameError), "no such host"},
		"the name server fails":          {nameServer(t, dnsmessage.RCodeServerFailure), "server misbehaving"},
		"the name server is not reached": {&net.Resolver{PreferGo: true, Dial: unreachable}, "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, newCloud(t))
			cfg.CCI.Endpoint = "https://cci.sim-1.example.invalid"
			d, err := New(cfg, Options{})
			require.NoError(t, err)
			d.resolver = test.resolver
			report, err := d.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, []diagnosis.Code{CodeNameNotResolved}, codesOf(report, "dns"))
			assert.Contains(t, report.Findings[0].Message, "cci.sim-1.example.invalid")
			assert.Contains(t, report.Findings[0].Message, test.want)
			assert.Len(t, report.Findings, 1, "one cause has one finding: %v", report.Findings)
			assert.Equal(t, CheckReport{"connection", Skipped, "needs dns"}, outcomeOf(t, report, "connection"))
		})
	}
}

func unreachable(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no route")
}

// No request, and so no signature, is sent to a service that does not prove its name.
func TestBrokenTLSIsReported(t *testing.T) {
	quiet := func(server *httptest.Server) { server.Config.ErrorLog = log.New(io.Discard, "", 0) }
	for name, test := range map[string]struct {
		start func(*httptest.Server)
		// overTLS: the client uses TLS although the server does not.
		overTLS  bool
		cci, iam diagnosis.Code
	}{
		"a certificate of an unknown authority": {
			start: (*httptest.Server).StartTLS, cci: CodeCertificate, iam: CodeNoConnectionToIAM,
		},
		"an old version of TLS": {
			start: func(s *httptest.Server) {
				s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
				s.StartTLS()
			},
			cci: CodeNoConnection, iam: CodeNoConnectionToIAM,
		},
		"no TLS": {
			start: (*httptest.Server).Start, overTLS: true, cci: CodeNoConnection, iam: CodeNoConnectionToIAM,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				requests.Add(1)
			}))
			quiet(server)
			test.start(server)
			t.Cleanup(server.Close)
			url := server.URL
			if test.overTLS {
				url = strings.Replace(url, "http://", "https://", 1)
			}
			for _, service := range []struct {
				check string
				want  diagnosis.Code
			}{{"connection", test.cci}, {"connection-iam", test.iam}} {
				cfg := settings(t, newCloud(t, cloudtest.EveryAPI))
				if service.check == "connection" {
					cfg.CCI.Endpoint = url
				} else {
					cfg.CCI.IAMEndpoint = url
				}
				d, err := New(cfg, Options{})
				require.NoError(t, err)
				report, err := d.Run(t.Context())
				require.NoError(t, err)
				require.Equal(t, []diagnosis.Code{service.want}, codesOf(report, service.check), report.Findings)
				problems := report.Findings.Count(diagnosis.Error) + report.Findings.Count(diagnosis.Warning)
				assert.Equal(t, 1, problems, "one cause: %v", report.Findings)
				assert.Contains(t, report.Findings[0].Message, url)
			}
			assert.Zero(t, requests.Load(), "nothing is sent")
		})
	}
}
