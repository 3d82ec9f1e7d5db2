// What runs a graph: one window at the network's rate to its logits.
#pragma once

#include <vector>

namespace gmme_edge {

class Network {
 public:
  virtual ~Network() = default;
  virtual std::vector<float> logits(std::vector<float>& window) = 0;
};

}  // namespace gmme_edge
