package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/run"
)

type settings struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	List  []string `json:"list"`
}

func (s *settings) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.Name, "name", s.Name, "a name")
	flags.IntVar(&s.Count, "count", s.Count, "a count")
	flags.StringSliceVar(&s.List, "list", s.List, "a list")
}

func (s *settings) Validate() error {
	if s.Count < 0 {
		return fmt.Errorf("count: invalid value %d: must not be negative", s.Count)
	}
	return nil
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: file\ncount: 2\nlist: [x]\n"), 0o600))
	unknown := filepath.Join(t.TempDir(), "unknown.yaml")
	require.NoError(t, os.WriteFile(unknown, []byte("nama: file\n"), 0o600))

	cases := map[string]struct {
		args    []string
		want    settings
		wantErr string
	}{
		"defaults hold where nothing is said": {nil, settings{Name: "default", Count: 1}, ""},
		"the file wins over defaults": {
			[]string{"--config", file},
			settings{Name: "file", Count: 2, List: []string{"x"}},
			"",
		},
		"flags win over the file": {
			[]string{"--count", "3", "--config", file},
			settings{Name: "file", Count: 3, List: []string{"x"}},
			"",
		},
		"a list of flags replaces that of the file": {
			[]string{"--config", file, "--list=a", "--list=b"}, settings{Name: "file", Count: 2, List: []string{"a", "b"}}, "",
		},
		"an unknown field of the file is named":  {[]string{"--config", unknown}, settings{}, "nama"},
		"a missing file is named":                {[]string{"--config", "nowhere.yaml"}, settings{}, "nowhere.yaml"},
		"an unknown flag is named":               {[]string{"--nama=x"}, settings{}, "nama"},
		"a stray argument is named":              {[]string{"stray"}, settings{}, "stray"},
		"a wrong value is refused with its name": {[]string{"--count=-1"}, settings{}, "count: invalid value -1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := settings{Name: "default", Count: 1}
			err := Load("program", tc.args, &got)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.True(t, errors.Is(err, run.ErrUsage), "a fault of the user is a usage error")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

// renamed is a configuration with renamed fields.
type renamed struct {
	settings
	Part struct {
		Timeout string `json:"timeout"`
	} `json:"part"`
}

func (*renamed) Aliases() map[string]string {
	return map[string]string{"title": "name", "part.oldTimeout": "part.timeout", "gone.oldTimeout": "part.timeout"}
}

func TestFormerNamesOfFieldsAreAccepted(t *testing.T) {
	for name, c := range map[string]struct{ text, wantName, wantTimeout, wantErr string }{
		"present names":                 {"name: a\npart: {timeout: 1s}\n", "a", "1s", ""},
		"former names":                  {"title: a\npart: {oldTimeout: 1s}\n", "a", "1s", ""},
		"a former name of another part": {"gone: {oldTimeout: 2s}\n", "", "", "gone"},
		"a number of 16 digits in a text": {
			"title: a\npart: {oldTimeout: 9999999999999999}\n", "a", "9999999999999999", "",
		},
		"both names at once": {
			"title: a\nname: b\n", "", "", "name: must not be set together with title, its former name",
		},
		"a former name, and a typo":   {"title: a\npart: {timeuot: 1s}\n", "", "", "timeuot"},
		"a field given twice":         {"title: a\ntitle: b\n", "", "", "title"},
		"a list instead of a mapping": {"- title\n", "", "", "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			var got renamed
			err := Load("program", []string{"--config", file}, &got)
			if c.wantErr != "" {
				require.ErrorContains(t, err, c.wantErr)
				require.ErrorIs(t, err, run.ErrUsage)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.wantName, got.Name)
			assert.Equal(t, c.wantTimeout, got.Part.Timeout)
		})
	}
}

func TestTheVersionIsPrintedWhateverElseIsWrong(t *testing.T) {
	got := settings{Name: "default", Count: 1}
	assert.ErrorIs(t, Load("program", []string{"--config=nowhere.yaml", "--version"}, &got), pflag.ErrHelp)
}
