// A bundle: manifest.json, checked as what it is, bytes from outside.
#pragma once

#include <nlohmann/json.hpp>
#include <set>

#include "npz.hpp"
#include "sha256.hpp"

namespace gmme_edge {

struct BundleFile {
  std::string path, role, sha256, precision;
};

struct Manifest {
  std::string name;
  std::vector<std::string> labels;
  int sample_rate_hz = 0;
  std::size_t n_samples = 0;
  std::vector<BundleFile> files;
  std::map<std::string, double> limits;  // of the relative error, by precision

  const BundleFile& model(const std::string& precision) const {
    std::string known;
    for (const BundleFile& file : files) {
      if (file.role != "model") continue;
      if (file.precision == precision) return file;
      known += (known.empty() ? "" : ", ") + file.precision;
    }
    throw Error("The bundle has no precision '" + precision + "', but " + known + ".");
  }
};

namespace detail {

// A number of any size; one that is not whole, or too large for 64 bits, is -1.
inline std::int64_t whole(const nlohmann::json& number) {
  const bool fits = number.is_number_integer() &&
                    !(number.is_number_unsigned() && number.get<std::uint64_t>() > INT64_MAX);
  return fits ? number.get<std::int64_t>() : -1;
}

}  // namespace detail

inline Manifest parse_manifest(const std::string& text) {
  Manifest found;
  try {
    const nlohmann::json values = nlohmann::json::parse(text);
    if (detail::whole(values.at("schema")) != 1) throw Error("manifest.json has another schema than 1.");
    found.name = values.at("model").at("name").get<std::string>();
    const std::int64_t rate = detail::whole(values.at("model").at("sample_rate_hz")),
                       size = detail::whole(values.at("model").at("n_samples")),
                       classes = detail::whole(values.at("model").at("n_classes"));
    if (rate < 1 || rate > 1'000'000 || size < 1 || size > 1 << 24)
      throw Error("manifest.json has a rate or a window that no network has.");
    found.sample_rate_hz = static_cast<int>(rate), found.n_samples = static_cast<std::size_t>(size);
    found.labels = values.at("labels").get<std::vector<std::string>>();
    if (static_cast<std::int64_t>(found.labels.size()) != classes)
      throw Error("manifest.json has not one label per class.");
    for (const auto& file : values.at("files"))
      found.files.push_back({file.at("path").get<std::string>(), file.at("role").get<std::string>(),
                             file.at("sha256").get<std::string>(),
                             file.value("precision", std::string())});
    for (const auto& [precision, figures] : values.at("parity").items())
      if (figures.contains("limit")) found.limits[precision] = figures["limit"].get<double>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(std::string("manifest.json is damaged: ") + error.what());
  }
  std::set<std::string> seen;
  for (const BundleFile& file : found.files) {
    const std::string framed = "/" + file.path + "/";
    const bool leaves = file.path.empty() || file.path[0] == '/' ||
                        file.path.find_first_of(std::string("\\\0", 2)) != std::string::npos ||
                        framed.find("/../") != std::string::npos;
    if (leaves || !seen.insert(file.path).second)
      throw Error("manifest.json names a file twice or outside the bundle.");
  }
  return found;
}

class Bundle {
 public:
  explicit Bundle(std::string folder) : folder_(std::move(folder)) {
    const Bytes text = read_file(path("manifest.json"));
    manifest = parse_manifest({text.begin(), text.end()});
  }

  Manifest manifest;

  std::string path(const std::string& file) const { return folder_ + "/" + file; }

  // The bytes of a listed file, which are those of the export.
  Bytes read_checked(const BundleFile& file) const {
    Bytes bytes = read_file(path(file.path));
    if (sha256(bytes) != file.sha256)
      throw Error(path(file.path) + " has changed since the export: its SHA-256 differs.");
    return bytes;
  }

  std::map<std::string, Array> golden() const {
    for (const BundleFile& file : manifest.files)
      if (file.role == "golden") return read_npz(read_checked(file));
    throw Error("The bundle has no golden vectors.");
  }

 private:
  std::string folder_;
};

}  // namespace gmme_edge
