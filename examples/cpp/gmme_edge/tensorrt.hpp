// A bundle's engine on TensorRT 8.5 to 11. An engine is code: load only one that you built, or one
// that the bundle's own manifest lists.
#pragma once

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <memory>

#include "bundle.hpp"
#include "network.hpp"

namespace gmme_edge {

class TensorRt final : public Network {
 public:
  TensorRt(const Bundle& bundle, const Bytes& engine) : classes_(bundle.manifest.labels.size()) {
    runtime_.reset(nvinfer1::createInferRuntime(log_));
    if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(engine.data(), engine.size()));
    if (engine_) context_.reset(engine_->createExecutionContext());
    if (!context_) throw Error("TensorRT cannot load the engine: " + log_.last);
    window_ = bundle.manifest.n_samples;
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) reserve(engine_->getIOTensorName(i));
    const nvinfer1::Dims2 shape{1, static_cast<std::int32_t>(window_)};
    if (!input_ || !output_ || !context_->setInputShape("waveform", shape))
      throw Error("The engine has not this bundle's inputs and outputs: " + log_.last);
  }

  std::vector<float> logits(std::vector<float>& window) override {
    std::vector<float> found(classes_);
    check(cudaMemcpyAsync(input_, window.data(), window.size() * sizeof(float),
                          cudaMemcpyHostToDevice, stream_.get()));
    if (!context_->enqueueV3(stream_.get())) throw Error("TensorRT failed: " + log_.last);
    check(cudaMemcpyAsync(found.data(), output_, found.size() * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_.get()));
    check(cudaStreamSynchronize(stream_.get()));
    return found;
  }

 private:
  struct Log final : nvinfer1::ILogger {
    std::string last = "no reason was given.";
    void log(Severity severity, const char* text) noexcept override {
      if (severity > Severity::kERROR) return;
      try {
        last = text;
      } catch (...) {  // without memory the last reason but one has to do
      }
    }
  };

  struct Free {
    void operator()(void* memory) const noexcept { cudaFree(memory); }
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
  };

  static void check(cudaError_t code) {
    if (code != cudaSuccess) throw Error(std::string("CUDA failed: ") + cudaGetErrorString(code));
  }

  static std::unique_ptr<CUstream_st, Free> make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return std::unique_ptr<CUstream_st, Free>(stream);
  }

  // Memory for a tensor of one window; every output needs some, the embedding as well.
  void reserve(const std::string& name) {
    const nvinfer1::Dims shape = engine_->getTensorShape(name.c_str());
    const bool given = name == "waveform";
    const std::size_t width = given ? window_ : classes_;
    const bool fits = shape.nbDims == 2 && (name == "embedding" || is(shape.d[1], width));
    if (!fits || engine_->getTensorDataType(name.c_str()) != nvinfer1::DataType::kFLOAT)
      throw Error("The engine has " + name + " of another shape or type than the bundle.");
    void* memory = nullptr;
    check(cudaMalloc(&memory, static_cast<std::size_t>(shape.d[1]) * sizeof(float)));
    memory_.emplace_back(memory);
    if (!context_->setTensorAddress(name.c_str(), memory)) throw Error("TensorRT: " + log_.last);
    if (given) input_ = memory;
    if (name == "logits") output_ = memory;
  }

  template <typename Integer>
  static bool is(Integer dimension, std::size_t width) {
    return dimension >= 0 && static_cast<std::size_t>(dimension) == width;
  }

  Log log_;
  std::size_t classes_, window_ = 0;
  std::unique_ptr<CUstream_st, Free> stream_ = make_stream();
  std::vector<std::unique_ptr<void, Free>> memory_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  void* input_ = nullptr;
  void* output_ = nullptr;
};

}  // namespace gmme_edge
