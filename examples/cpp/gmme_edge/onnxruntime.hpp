// A bundle's graph on ONNX Runtime.
#pragma once

#include <optional>

#include "bundle.hpp"
#include "network.hpp"
// The headers may be newer than the library: ask for what ONNX Runtime 1.17 has.
#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

namespace gmme_edge {

class OnnxRuntime final : public Network {
 public:
  OnnxRuntime(const Bundle& bundle, const std::string& precision, int threads)
      : classes_(bundle.manifest.labels.size()) {
    static const bool ready = [] {
      const OrtApi* api = OrtGetApiBase()->GetApi(17);
      if (!api) throw Error("ONNX Runtime is older than 1.17.");
      Ort::InitApi(api);
      return true;
    }();
    (void)ready;
    const BundleFile& model = bundle.manifest.model(precision);
    bundle.read_checked(model);
    for (const BundleFile& file : bundle.manifest.files)
      if (file.role == "weights") bundle.read_checked(file);
    try {
      env_.emplace(ORT_LOGGING_LEVEL_ERROR, "gmme-edge");
      Ort::SessionOptions options;
      options.SetIntraOpNumThreads(threads);
      options.SetInterOpNumThreads(1);
      options.SetLogSeverityLevel(3);
      options.AddConfigEntry("session.intra_op.allow_spinning", "0");
      if (precision == "int8-tensorrt")  // made for TensorRT; here it is simulated in float
        options.AddConfigEntry("session.disable_quant_qdq", "1");
      session_.emplace(*env_, bundle.path(model.path).c_str(), options);
    } catch (const Ort::Exception& error) {
      throw Error(std::string("ONNX Runtime cannot load the graph: ") + error.what());
    }
  }

  std::vector<float> logits(std::vector<float>& window) override {
    const std::int64_t shape[] = {1, static_cast<std::int64_t>(window.size())};
    const char* const input = "waveform";
    const char* const output = "logits";
    try {
      const Ort::Value value = Ort::Value::CreateTensor<float>(
          Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault), window.data(),
          window.size(), shape, 2);
      const auto outputs = session_->Run(Ort::RunOptions{nullptr}, &input, &value, 1, &output, 1);
      const float* found = outputs[0].GetTensorData<float>();
      if (outputs[0].GetTensorTypeAndShapeInfo().GetElementCount() != classes_)
        throw Error("The graph has not one logit per label.");
      return {found, found + classes_};
    } catch (const Ort::Exception& error) {
      throw Error(std::string("ONNX Runtime failed: ") + error.what());
    }
  }

 private:
  std::size_t classes_;
  std::optional<Ort::Env> env_;
  std::optional<Ort::Session> session_;
};

}  // namespace gmme_edge
