package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/replay"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// transcriptOf writes the transcript of a run.
func transcriptOf(t *testing.T, r result) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, r.redactor.Write(&out, r.exchanges))
	return out.String()
}

// secrets returns what must not be in a transcript: of the configuration, and what the exchanges have shown.
func secrets(r result) map[string]string {
	all := map[string]string{
		"the access key": account.AccessKey, "the secret key": account.SecretKey, "the project": account.ProjectID,
		"the account": account.DomainID, "the VPC's ID of a subnet": vpcSubnetID,
		"Neutron's ID of a subnet": neutronSubnetID, "the security group": securityGroupID,
		"the image": "swr.example.com/tools/busybox:1.37", "the content of a Secret": "c3BpbGx3YXk",
	}
	addresses := regexp.MustCompile(`\b10\.246\.\d+\.\d+\b`)
	uid := regexp.MustCompile(`"uid":"([^"]+)"`)
	for _, e := range r.exchanges {
		for _, address := range addresses.FindAllString(string(e.Answer), -1) {
			all["the address "+address] = address
		}
		for _, match := range uid.FindAllStringSubmatch(string(e.Answer), -1) {
			all["the UID "+match[1]] = match[1]
		}
	}
	for _, name := range r.names {
		all["what IAM has issued or named: "+name] = name
	}
	return all
}

// spellings returns a secret in the encodings in which it could be hidden.
func spellings(secret string) []string {
	all := []string{
		secret, strings.ToLower(secret), strings.ToUpper(secret), url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
	}
	// In the middle of a longer text in base64, such as of Basic authentication.
	for _, before := range []string{"", ":", "::"} {
		text := base64.StdEncoding.EncodeToString([]byte(before + secret + ":::"))
		all = append(all, text[4:len(text)-8])
	}
	return all
}

func TestATranscriptIdentifiesNoAccount(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r, err := w.run(t.Context())
			require.NoError(t, err)
			text := transcriptOf(t, r)
			tried := 0
			for name, secret := range secrets(r) {
				for _, spelling := range spellings(secret) {
					tried++
					assert.NotContains(t, text, spelling, "%s as %q", name, spelling)
				}
			}
			assert.Greater(t, tried, 100)
			read, err := transcript.Read(strings.NewReader(text))
			require.NoError(t, err)
			require.Len(t, read, len(r.exchanges))
			for i := range read {
				assert.Equal(t, r.exchanges[i].Status, read[i].Status)
				assert.Equal(t, r.exchanges[i].Step, read[i].Step)
			}
		})
	}
}

// A simulated cloud takes its policies from the transcript of another one.
func TestATranscriptShowsThePolicies(t *testing.T) {
	for name, change := range map[string]func(*ccisim.Policies){
		"the default":               func(*ccisim.Policies) {},
		"no events":                 func(p *ccisim.Policies) { p.Events = ccisim.EventsAbsent },
		"no volumes":                func(p *ccisim.Policies) { p.NoVolumes = true },
		"containers run as root":    func(p *ccisim.Policies) { p.IgnoreSecurityContext = true },
		"no snapshots":              func(p *ccisim.Policies) { p.NoSnapshots = true },
		"no API for events":         func(p *ccisim.Policies) { p.Unpublished = []string{"events"} },
		"no API for snapshots":      func(p *ccisim.Policies) { p.Unpublished = []string{"imagesnapshots"} },
		"errors have no reason":     func(p *ccisim.Policies) { p.BareErrors = true },
		"lists ignore their limit":  func(p *ccisim.Policies) { p.IgnoreLimit = true },
		"deletions ignore UIDs":     func(p *ccisim.Policies) { p.IgnorePreconditions = true },
		"exec takes a signature":    func(p *ccisim.Policies) { p.SignedExec = true },
		"several of them at a time": func(p *ccisim.Policies) { p.SignedExec, p.IgnoreLimit, p.NoVolumes = true, true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want ccisim.Policies
			change(&want)
			r, err := world{sim: func(c *ccisim.Config) { c.Policies = want }}.run(t.Context())
			require.NoError(t, err)
			read, err := transcript.Read(strings.NewReader(transcriptOf(t, r)))
			require.NoError(t, err)
			assert.Equal(t, want.WithDefaults(), replay.Policies(read))
		})
	}
}
