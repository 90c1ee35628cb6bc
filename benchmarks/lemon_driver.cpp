// Gomory-Hu tree by LEMON, for benchmarks/cuttree.py: reads "n m" and m lines "u v capacity"
// as binary int64 from stdin, prints "seconds sum_of_values" of the tree.
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <vector>
#include <lemon/gomory_hu.h>
#include <lemon/smart_graph.h>

int main() {
  int64_t size[2];
  if (fread(size, 8, 2, stdin) != 2) return 1;
  std::vector<int64_t> rows(3 * size[1]);
  if (fread(rows.data(), 8, rows.size(), stdin) != rows.size()) return 1;
  clock_t begin = clock();
  lemon::SmartGraph graph;
  graph.reserveNode(size[0]);
  graph.reserveEdge(size[1]);
  for (int64_t i = 0; i < size[0]; i++) graph.addNode();
  lemon::SmartGraph::EdgeMap<int64_t> capacity(graph);
  for (int64_t i = 0; i < size[1]; i++)
    capacity[graph.addEdge(graph.nodeFromId(rows[3 * i]), graph.nodeFromId(rows[3 * i + 1]))] =
        rows[3 * i + 2];
  lemon::GomoryHu<lemon::SmartGraph, lemon::SmartGraph::EdgeMap<int64_t>> tree(graph, capacity);
  tree.run();
  double took = double(clock() - begin) / CLOCKS_PER_SEC;
  // The root's edge has no value; __int128 because n cuts of 2^60 do not fit 64 bits.
  __int128 sum = 0;
  for (int64_t i = 0; i < size[0]; i++)
    if (tree.predNode(graph.nodeFromId(i)) != lemon::INVALID) sum += tree.predValue(graph.nodeFromId(i));
  printf("%.9f %lld\n", took, (long long)sum);
}
