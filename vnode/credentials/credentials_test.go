package credentials

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// metadata replaces the metadata service of the machine. It is a proxy, because the address of that service is fixed.
var metadata = httptest.NewUnstartedServer(nil)

func TestMain(m *testing.M) {
	metadata.Start()
	// This precedes the first request, because net/http reads the variable once.
	if err := os.Setenv("HTTP_PROXY", metadata.URL); err != nil {
		panic(err)
	}
	code := m.Run()
	metadata.Close()
	os.Exit(code)
}

// clock is a clock that only advance moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestRead(t *testing.T) {
	dir := func(files map[string]string) string {
		d := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(d, name), text)
		}
		return d
	}
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "accessKey: a\nsecretKey: s\n")
	cases := map[string]struct {
		path    string
		want    cci.Credentials
		wantErr string
	}{
		"a file": {file, cci.Credentials{AccessKey: "a", SecretKey: "s"}, ""},
		"a mounted Secret": {
			dir(map[string]string{"accessKey": "a\n", "secretKey": "s"}), cci.Credentials{AccessKey: "a", SecretKey: "s"}, "",
		},
		"a mounted Secret with a security token": {
			dir(map[string]string{"accessKey": "a", "secretKey": "s", "securityToken": "t\n"}),
			cci.Credentials{AccessKey: "a", SecretKey: "s", SecurityToken: "t"}, "",
		},
		"a mounted Secret with an IAM token": {
			dir(map[string]string{"accessKey": "a", "secretKey": "s", "authToken": "t\n"}),
			cci.Credentials{AccessKey: "a", SecretKey: "s", AuthToken: "t"}, "",
		},
		"a Secret without a secret key": {
			dir(map[string]string{"accessKey": "a"}), cci.Credentials{}, "secretKey: Required value",
		},
		"a Secret with an empty key": {
			dir(map[string]string{"accessKey": "a", "secretKey": " \n"}), cci.Credentials{}, "secretKey: Required value",
		},
		"a path that does not exist": {filepath.Join(t.TempDir(), "nowhere"), cci.Credentials{}, "nowhere"},
		"a directory instead of a file": {func() string {
			d := dir(nil)
			require.NoError(t, os.Mkdir(filepath.Join(d, "accessKey"), 0o700))
			return d
		}(), cci.Credentials{}, "is a directory"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Read(tc.path)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.Zero(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

// The kubelet writes a new directory and then moves the link ..data, through which the links of the files point.
func TestMountedSecretIsReadInOneVersion(t *testing.T) {
	mount := t.TempDir()
	put := func(version, key string) {
		dir := filepath.Join(mount, version)
		require.NoError(t, os.Mkdir(dir, 0o700))
		write(t, filepath.Join(dir, "accessKey"), "a-"+key)
		write(t, filepath.Join(dir, "secretKey"), "s-"+key)
		require.NoError(t, os.Symlink(version, filepath.Join(mount, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	put("..1", "one")
	for _, name := range []string{"accessKey", "secretKey"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
	}
	version := resolve(mount)
	put("..2", "two")
	got, err := readDir(version)
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "a-one", SecretKey: "s-one"}, got, "a read that has begun sees one version")
	got, err = Read(mount)
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "a-two", SecretKey: "s-two"}, got)
}

func TestFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "accessKey: one\nsecretKey: very-secret\n")
	var log strings.Builder
	source, err := FromFile(file, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	clock := clock{now: source.lastRead}
	source.now = clock.Now
	after := func() cci.Credentials {
		clock.advance(readInterval)
		return source.Current()
	}
	assert.Equal(t, "one", source.Current().AccessKey)

	write(t, file, "accessKey: two\nsecretKey: very-secret\n")
	assert.Equal(t, "one", source.Current().AccessKey, "the file is not read for every request")
	assert.Equal(t, "two", after().AccessKey)

	for _, broken := range []string{"", "accessKey: thr", "accessKey: three\nsecretKey", "very-secret: ["} {
		write(t, file, broken)
		assert.Equal(t, "two", after().AccessKey, "%q is partly written", broken)
		before := log.Len()
		after()
		assert.Equal(t, before, log.Len(), "an error is logged once")
	}
	require.NoError(t, os.Remove(file))
	assert.Equal(t, "two", after().AccessKey, "the last keys stay in use when the file is deleted")
	write(t, file, "accessKey: three\nsecretKey: very-secret\n")
	assert.Equal(t, "three", after().AccessKey)
	assert.NotContains(t, log.String(), "secret\n")
	assert.NotContains(t, log.String(), "very-secret")
	assert.Contains(t, log.String(), "credentials of three")

	_, err = FromFile(filepath.Join(t.TempDir(), "nowhere"), slog.New(slog.DiscardHandler))
	assert.ErrorIs(t, err, os.ErrNotExist, "the first read must succeed")
}

func TestOneCallerReadsAndTheOthersDoNotWait(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	first := true
	clock := clock{now: time.Now()}
	source, err := newSource(func() (cci.Credentials, error) {
		if first {
			first = false
			return cci.Credentials{AccessKey: "old", SecretKey: "s"}, nil
		}
		close(reading)
		<-release
		return cci.Credentials{AccessKey: "new", SecretKey: "s"}, nil
	}, clock.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	clock.advance(readInterval)
	got := make(chan cci.Credentials)
	go func() { got <- source.Current() }()
	<-reading
	assert.Equal(t, "old", source.Current().AccessKey)
	close(release)
	assert.Equal(t, "new", (<-got).AccessKey)
	assert.Equal(t, "new", source.Current().AccessKey)
}

func TestErrorsKeepTheKeys(t *testing.T) {
	var failure error
	clock := clock{now: time.Now()}
	source, err := newSource(func() (cci.Credentials, error) {
		return cci.Credentials{AccessKey: "a", SecretKey: "s"}, failure
	}, clock.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	failure = errors.New("no answer")
	clock.advance(readInterval)
	assert.Equal(t, "a", source.Current().AccessKey)
}

// expiry returns a time in the format of the metadata service.
func expiry(in time.Duration) string {
	return time.Now().Add(in).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func TestKeysOfTheMachine(t *testing.T) {
	var mu sync.Mutex
	key, validity, requests := "one", time.Second, 0
	metadata.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/meta-data/latest/api/token":
			_, _ = w.Write([]byte("token"))
		case "/openstack/latest/securitykey":
			requests++
			_, _ = fmt.Fprintf(w, `{"credential":{"access":%q,"secret":"s","securitytoken":"t","expires_at":%q}}`,
				key, expiry(validity))
		default:
			http.NotFound(w, r)
		}
	})
	source, err := FromMachine(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "one", SecretKey: "s", SecurityToken: "t"}, source.Current())
	mu.Lock()
	key, validity = "two", time.Hour
	mu.Unlock()
	source.lastRead = source.lastRead.Add(-readInterval)
	assert.Equal(t, "two", source.Current().AccessKey, "keys that expire soon are renewed")
	mu.Lock()
	before := requests
	mu.Unlock()
	source.lastRead = source.lastRead.Add(-readInterval)
	source.Current()
	mu.Lock()
	assert.Equal(t, before, requests, "no request is sent while the keys are valid")
	mu.Unlock()
}

func TestKeysOfAPod(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "bound-token", r.Header.Get("Authorization"))
		_, _ = fmt.Fprintf(w, `{"credentials":{"accessKeyId":"ak","secretAccessKey":"sk","securityToken":"st",`+
			`"expiration":%q}}`, expiry(time.Hour))
	}))
	t.Cleanup(server.Close)
	_, err := FromPodIdentity(slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "HC_CONTAINER_CREDENTIALS_FULL_URI")
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "bound-token")
	t.Setenv("HC_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	t.Setenv("HC_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
	source, err := FromPodIdentity(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "ak", SecretKey: "sk", SecurityToken: "st"}, source.Current())
}
