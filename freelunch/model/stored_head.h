#pragma once
#include <string>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/name_table.h"
#include "freelunch/checkpoint/checkpoint.h"

namespace freelunch::model {

/// Which tensors of a Hugging Face folder are the embedding and the head.
struct StoredHead {
  bool tied = false;
  NameTable names;      ///< in the files: the embedding may be stored under the head's name
  std::string warning;  ///< of files that say something else than config.json; empty: they agree
};

/// Decides from config.json and the files together, as transformers 5 does. If config.json ties head and
/// embedding, the matrix may be stored under either name. If both are stored, their values are compared: two
/// matrices that differ are not tied, whatever config.json says. `names` are those of the folder. Throws
/// BadFile if config.json says that the head is a matrix of its own and no file holds it: transformers would
/// draw a random one, and with the embedding in its place this would be another model.
StoredHead find_head(const checkpoint::Checkpoint& files, const Config& config, const NameTable& names,
                     const std::string& where);

}  // namespace freelunch::model
