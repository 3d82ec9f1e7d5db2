package main

/*
#include <stdlib.h>
#include <string.h>

#include <onnxruntime_c_api.h>

static const OrtApi *api;

// The headers may be newer than the library: ask for what ONNX Runtime 1.17 has.
static int start(void) { return (api = OrtGetApiBase()->GetApi(17)) != NULL; }

static char *told(OrtStatus *status) {
	if (!status) return NULL;
	char *text = strdup(api->GetErrorMessage(status));
	api->ReleaseStatus(status);
	return text;
}

static char *open_session(const char *path, int threads, OrtEnv **env, OrtSession **session) {
	OrtSessionOptions *options = NULL;
	char *error = told(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "gmme-edge", env));
	if (!error) error = told(api->CreateSessionOptions(&options));
	if (!error) error = told(api->SetIntraOpNumThreads(options, threads));
	if (!error) error = told(api->SetInterOpNumThreads(options, 1));
	if (!error)
		error = told(api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
	if (!error) error = told(api->CreateSession(*env, path, options, session));
	if (options) api->ReleaseSessionOptions(options);
	return error;
}

static char *run(OrtSession *session, float *window, size_t n, float *logits, size_t classes) {
	const int64_t shape[] = {1, (int64_t)n};
	const char *input = "waveform", *output = "logits";
	OrtMemoryInfo *memory = NULL;
	OrtValue *in = NULL, *out = NULL;
	OrtTensorTypeAndShapeInfo *info = NULL;
	float *found = NULL;
	size_t count = 0;
	char *error = told(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
	if (!error)
		error = told(api->CreateTensorWithDataAsOrtValue(memory, window, 4 * n, shape, 2,
			ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &in));
	if (!error)
		error = told(api->Run(session, NULL, &input, (const OrtValue *const *)&in, 1, &output, 1, &out));
	if (!error) error = told(api->GetTensorTypeAndShape(out, &info));
	if (!error) error = told(api->GetTensorShapeElementCount(info, &count));
	if (!error && count != classes) error = strdup("the graph has not one logit per label");
	if (!error) error = told(api->GetTensorMutableData(out, (void **)&found));
	if (!error) memcpy(logits, found, 4 * classes);
	if (info) api->ReleaseTensorTypeAndShapeInfo(info);
	if (out) api->ReleaseValue(out);
	if (in) api->ReleaseValue(in);
	if (memory) api->ReleaseMemoryInfo(memory);
	return error;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Session is a graph on ONNX Runtime; it lives as long as the program.
type Session struct {
	session *C.OrtSession
	classes int
}

// OpenSession opens the graph of a precision, whose files must be those of the export.
func OpenSession(bundle *Bundle, precision string, threads int) (*Session, error) {
	graph, content, err := bundle.Checked("model", precision)
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, fmt.Errorf("the bundle has no precision %q", precision)
	}
	if _, _, err := bundle.Checked("weights", ""); err != nil {
		return nil, err
	}
	if C.start() == 0 {
		return nil, fmt.Errorf("ONNX Runtime is older than 1.17")
	}
	path := C.CString(graph)
	defer C.free(unsafe.Pointer(path))
	var env *C.OrtEnv
	session := &Session{classes: len(bundle.Manifest.Labels)}
	return session, failure(C.open_session(path, C.int(threads), &env, &session.session))
}

// Logits runs one window at the network's rate.
func (s *Session) Logits(window []float32) ([]float32, error) {
	logits := make([]float32, s.classes)
	return logits, failure(C.run(s.session, (*C.float)(&window[0]), C.size_t(len(window)),
		(*C.float)(&logits[0]), C.size_t(len(logits))))
}

func failure(text *C.char) error {
	if text == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(text))
	return fmt.Errorf("ONNX Runtime: %s", C.GoString(text))
}
