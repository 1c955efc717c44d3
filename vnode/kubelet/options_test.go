package kubelet

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestParseLogOptions(t *testing.T) {
	cases := map[string]struct {
		query   string
		want    cci.LogOptions
		wantErr []string
	}{
		"no options": {"", cci.LogOptions{}, nil},
		"all options": {
			"follow=true&previous=1&timestamps=true&sinceSeconds=5&tailLines=7&limitBytes=9",
			cci.LogOptions{
				Follow: true, Previous: true, Timestamps: true,
				SinceSeconds: new(int64(5)), TailLines: new(int64(7)), LimitBytes: new(int64(9)),
			},
			nil,
		},
		"no existing line":     {"tailLines=0", cci.LogOptions{TailLines: new(int64(0))}, nil},
		"a time in the future": {"sinceTime=2999-01-01T00:00:00Z", cci.LogOptions{SinceSeconds: new(int64(1))}, nil},
		"both streams":         {"stream=All", cci.LogOptions{}, nil},
		"one stream":           {"stream=Stderr", cci.LogOptions{}, []string{"Stderr"}},
		"two start times": {
			"sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z", cci.LogOptions{}, []string{"at most one of them"},
		},
		"all invalid values are reported": {
			"follow=x&tailLines=-1&limitBytes=0&sinceSeconds=0&sinceTime=x", cci.LogOptions{},
			[]string{"follow", "tailLines", "limitBytes", "sinceSeconds", "sinceTime"},
		},
		"a number above every integer": {"tailLines=99999999999999999999", cci.LogOptions{}, []string{"tailLines"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			query, err := url.ParseQuery(tc.query)
			require.NoError(t, err)
			got, err := parseLogOptions(query, time.Now())
			for _, text := range tc.wantErr {
				assert.ErrorContains(t, err, text)
			}
			if tc.wantErr == nil {
				require.NoError(t, err)
				assert.Equal(t, tc.want, got)
			}
		})
	}
}

func TestSinceTimeIsRoundedUpSoThatNoLineIsMissed(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 500, time.UTC)
	p := parser{query: url.Values{"sinceTime": {"2026-01-02T03:04:00Z"}}}
	assert.Equal(t, new(int64(6)), p.sinceTime(now))
}

func FuzzParseLogOptions(f *testing.F) {
	f.Add("tailLines=1&sinceTime=2020-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		options, err := parseLogOptions(query, time.Now())
		if err == nil && options.SinceSeconds != nil {
			assert.Positive(t, *options.SinceSeconds)
		}
	})
}
