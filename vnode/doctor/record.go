package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// recordFile is the file of a transcript. It appears when it is complete: until then its contents are in a temporary
// file next to it.
type recordFile struct {
	name string
	// open is the temporary file, or the file itself if it is a device or a pipe.
	open      *os.File
	temporary bool
}

// createRecord checks that a transcript can be written to a file, before anything else is done. A file that exists is
// replaced only if it is a transcript: it may have been named by mistake.
func createRecord(name string) (*recordFile, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("--record: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("--record: %s is a directory: name a file in it", name)
	case !info.Mode().IsRegular():
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("--record: %w", err)
		}
		return &recordFile{name: name, open: file}, nil
	case info.Size() > 0 && !transcript.IsTranscript(name):
		return nil, fmt.Errorf("--record: %s exists and is no transcript: name another file", name)
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, fmt.Errorf("--record: name a file in a directory that you may write to: %w", err)
	}
	return &recordFile{name: name, open: file, temporary: true}, nil
}

// save writes the transcript. If that fails, the file is as it was before.
func (f *recordFile) save(text []byte) error {
	_, err := f.open.Write(text)
	err = errors.Join(err, f.open.Close())
	if err == nil && f.temporary {
		err = os.Rename(f.open.Name(), f.name)
	}
	if err != nil {
		f.discard()
		return fmt.Errorf("writing the transcript %s, for which another disk may have more room: %w", f.name, err)
	}
	return nil
}

// discard removes what was not saved.
func (f *recordFile) discard() {
	_ = f.open.Close() // It may be closed.
	if f.temporary {
		_ = os.Remove(f.open.Name()) // It may have its final name.
	}
}
