package transcript

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Shape is the form of an error: what a client can recognize it by.
type Shape struct {
	Status int
	// Reason and Code are those of a Kubernetes Status, GatewayCode is that of the gateway in front of it.
	Reason, Code, GatewayCode string
	Message                   string
}

// Shape returns the form of an answer. Its message does not name the path.
func (e *Exchange) Shape() Shape {
	var body struct {
		Reason      string `json:"reason"`
		Message     string `json:"message"`
		Code        string `json:"errorCode"`
		GatewayCode string `json:"error_code"`
	}
	_ = json.Unmarshal(e.Answer, &body) // A web page has none of the fields.
	if e.Path != "" {
		body.Message = strings.ReplaceAll(body.Message, e.Path, "PATH")
	}
	return Shape{
		Status: e.Status, Reason: body.Reason, Code: body.Code, GatewayCode: body.GatewayCode, Message: body.Message,
	}
}

// String names the status, the reason and the codes.
func (s Shape) String() string {
	text := fmt.Sprint(s.Status)
	for _, part := range []string{s.Reason, s.Code, s.GatewayCode} {
		if part != "" {
			text += " " + part
		}
	}
	return text
}
