package cci

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestThePageAndEachObjectOfItAreBounded(t *testing.T) {
	reader := &boundedReader{reader: strings.NewReader("0123456789"), total: 8}
	buffer := make([]byte, 4)
	reader.object = 3
	n, err := reader.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	_, err = reader.Read(buffer)
	require.EqualError(t, err, "the answer of the cloud is too large: an object has more than 4 MiB")

	reader.next()
	rest, err := io.ReadAll(reader)
	assert.Equal(t, "34567", string(rest))
	require.EqualError(t, err, "the answer of the cloud is too large: a page has more than 256 MiB")
	assert.True(t, IsTransient(err))
}
